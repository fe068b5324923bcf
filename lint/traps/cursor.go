package traps

import (
	"go/ast"
	"iter"

	"golang.org/x/tools/go/ast/inspector"
)

// Kinds of node to look for around a cursor.
var (
	function  = (*ast.FuncDecl)(nil)
	literal   = (*ast.FuncLit)(nil)
	forLoop   = (*ast.ForStmt)(nil)
	rangeLoop = (*ast.RangeStmt)(nil)
)

// first returns the first node of seq, nil if there is none.
func first(seq iter.Seq[inspector.Cursor]) ast.Node {
	for c := range seq {
		return c.Node()
	}
	return nil
}
