package p

import (
	_ "net/http"
	_ "os"
)
