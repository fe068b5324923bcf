package p

import (
	_ "embed"   // want `import: `
	_ "os/exec" // want `import: `
	_ "syscall" // want `import: `
	_ "unsafe"  // want `import: `

	_ "example.com/module" // want `import: `
)
