package traps

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// starters maps the functions that call one of their arguments on a goroutine
// of its own to that argument's index.
var starters = map[string]int{
	"time.AfterFunc":                        1,
	"context.AfterFunc":                     1,
	"(*net/http.Server).RegisterOnShutdown": 0,
}

func startsUnguarded(pass *analysis.Pass, c inspector.Cursor) bool {
	switch n := c.Node().(type) {
	case *ast.GoStmt:
		return !isGuarded(pass, n.Call.Fun)
	case *ast.CallExpr:
		f := typeutil.StaticCallee(pass.TypesInfo, n)
		if f == nil {
			return false
		}
		i, ok := starters[f.FullName()]
		return ok && !isGuarded(pass, n.Args[i])
	}
	return false
}

// isGuarded reports whether e is compiled or recovers from its panics.
// A function it cannot look into, such as a variable, counts as unguarded.
func isGuarded(pass *analysis.Pass, e ast.Expr) bool {
	return isCompiled(pass, e) || recoversFirst(pass, body(pass, e))
}

// isCompiled reports whether e is a function of another package, or a variable
// whose type is (context.CancelFunc).
func isCompiled(pass *analysis.Pass, e ast.Expr) bool {
	switch obj := object(pass, e).(type) {
	case *types.Func:
		return obj.Pkg() != pass.Pkg
	case *types.Var:
		named, ok := types.Unalias(obj.Type()).(*types.Named)
		return ok && named.Obj().Pkg() != pass.Pkg
	}
	return false
}

// body returns the statements of e, a function literal or a function of the
// package; an empty block if it is neither.
func body(pass *analysis.Pass, e ast.Expr) *ast.BlockStmt {
	if lit, ok := ast.Unparen(e).(*ast.FuncLit); ok {
		return lit.Body
	}
	obj := object(pass, e)
	for _, file := range pass.Files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && obj != nil && pass.TypesInfo.Defs[f.Name] == obj {
				return f.Body
			}
		}
	}
	return &ast.BlockStmt{}
}

// recoversFirst accepts several defers at the start: whichever of them recovers,
// it does so for all that follows.
func recoversFirst(pass *analysis.Pass, b *ast.BlockStmt) bool {
	for _, s := range b.List {
		d, ok := s.(*ast.DeferStmt)
		if !ok {
			return false
		}
		if callsRecover(pass, body(pass, d.Call.Fun)) {
			return true
		}
	}
	return false
}

// callsRecover leaves out closures: recover works only in the deferred function itself.
func callsRecover(pass *analysis.Pass, b *ast.BlockStmt) bool {
	found := false
	ast.Inspect(b, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			found = found || isBuiltin(pass, call.Fun, "recover")
		}
		_, closure := n.(*ast.FuncLit)
		return !closure
	})
	return found
}
