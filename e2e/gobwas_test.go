package e2e

import "testing"

// TestExternalGobwas has a client of gobwas/ws talk to a server of it. The library does not know 1012.
func TestExternalGobwas(t *testing.T) {
	pair{client: newGobwas, server: newGobwas, heard: whole, answered: codeAlone, plain: true, restart: 1001}.converse(t)
}
