package traps

import (
	"go/ast"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/edge"
	"golang.org/x/tools/go/ast/inspector"
)

// deniedImports are the standard library's packages that Traefik does not
// offer to plugins.
var deniedImports = []string{"C", "embed", "os/exec", "plugin", "syscall", "unsafe"}

// workingGenerics are exceptions to the generic rule: each ran correctly interpreted.
// Their neighbours (slices.Sort, slices.Clone, maps.Copy) do not load.
var workingGenerics = []string{
	"cmp.Compare",
	"cmp.Less",
	"slices.Contains",
	"slices.ContainsFunc",
	"slices.Index",
	"slices.IndexFunc",
}

func isDeniedImport(_ *analysis.Pass, c inspector.Cursor) bool {
	path, err := strconv.Unquote(c.Node().(*ast.ImportSpec).Path.Value)
	if err != nil {
		return false
	}
	root, _, _ := strings.Cut(path, "/")
	return strings.Contains(root, ".") || slices.Contains(deniedImports, path)
}

func isNewBuiltin(pass *analysis.Pass, c inspector.Cursor) bool {
	id := c.Node().(*ast.Ident)
	return isBuiltin(pass, id, "min") || isBuiltin(pass, id, "max") || isBuiltin(pass, id, "clear")
}

func isGeneric(pass *analysis.Pass, c inspector.Cursor) bool {
	obj := pass.TypesInfo.Uses[c.Node().(*ast.Ident)]
	if obj == nil || obj.Pkg() == nil || obj.Pkg() == pass.Pkg {
		return false
	}
	return hasTypeParams(obj) && !slices.Contains(workingGenerics, obj.Pkg().Path()+"."+obj.Name())
}

func hasTypeParams(obj types.Object) bool {
	switch obj := obj.(type) {
	case *types.Func:
		return obj.Origin().Signature().TypeParams().Len() > 0
	case *types.TypeName:
		named, ok := obj.Type().(*types.Named)
		return ok && named.TypeParams().Len() > 0
	}
	return false
}

func isMethodExpression(pass *analysis.Pass, c inspector.Cursor) bool {
	s := pass.TypesInfo.Selections[c.Node().(*ast.SelectorExpr)]
	return s != nil && s.Kind() == types.MethodExpr
}

func isForeignMethodValue(pass *analysis.Pass, c inspector.Cursor) bool {
	s := pass.TypesInfo.Selections[c.Node().(*ast.SelectorExpr)]
	if s == nil || s.Kind() != types.MethodVal || isCallee(c) {
		return false
	}
	return types.IsInterface(s.Recv()) || s.Obj().Pkg() != pass.Pkg
}

func isCallee(c inspector.Cursor) bool {
	for c.ParentEdgeKind() == edge.ParenExpr_X {
		c = c.Parent()
	}
	return c.ParentEdgeKind() == edge.CallExpr_Fun
}

func isAbort(pass *analysis.Pass, c inspector.Cursor) bool {
	call := c.Node().(*ast.CallExpr)
	if !isBuiltin(pass, call.Fun, "panic") {
		return false
	}
	obj := object(pass, call.Args[0])
	return obj != nil && obj.Pkg() != nil && obj.Pkg().Path() == "net/http" && obj.Name() == "ErrAbortHandler"
}

// object returns what e, a name or a selector, stands for; nil for any other expression.
func object(pass *analysis.Pass, e ast.Expr) types.Object {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return pass.TypesInfo.Uses[e]
	case *ast.SelectorExpr:
		return pass.TypesInfo.Uses[e.Sel]
	}
	return nil
}

func isBuiltin(pass *analysis.Pass, e ast.Expr, name string) bool {
	b, ok := object(pass, e).(*types.Builtin)
	return ok && b.Name() == name
}
