package traps

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

var errorInterface = types.Universe.Lookup("error").Type().Underlying().(*types.Interface)

func isErrorType(pass *analysis.Pass, c inspector.Cursor) bool {
	obj := pass.TypesInfo.Defs[c.Node().(*ast.TypeSpec).Name]
	if types.IsInterface(obj.Type()) || !isOwn(pass, obj.Type()) {
		return false
	}
	return types.Implements(types.NewPointer(obj.Type()), errorInterface)
}

func isAsOwnType(pass *analysis.Pass, c inspector.Cursor) bool {
	call := c.Node().(*ast.CallExpr)
	f := typeutil.StaticCallee(pass.TypesInfo, call)
	if f == nil || f.FullName() != "errors.As" {
		return false
	}
	t := pass.TypesInfo.TypeOf(call.Args[1])
	for p, ok := t.(*types.Pointer); ok; p, ok = t.(*types.Pointer) {
		t = p.Elem()
	}
	return isOwn(pass, t)
}

func boxesStruct(pass *analysis.Pass, c inspector.Cursor) bool {
	switch n := c.Node().(type) {
	case *ast.AssignStmt:
		return n.Tok == token.ASSIGN && assignsBoxed(pass, n)
	case *ast.ValueSpec:
		return n.Type != nil && types.IsInterface(pass.TypesInfo.TypeOf(n.Type)) && hasStruct(pass, n.Values)
	case *ast.CompositeLit:
		return literalBoxes(pass, n)
	}
	return false
}

func assignsBoxed(pass *analysis.Pass, n *ast.AssignStmt) bool {
	if len(n.Lhs) != len(n.Rhs) {
		return false
	}
	for i, target := range n.Lhs {
		t := pass.TypesInfo.TypeOf(target)
		if t != nil && types.IsInterface(t) && isOwnStruct(pass, n.Rhs[i]) {
			return true
		}
	}
	return false
}

func literalBoxes(pass *analysis.Pass, n *ast.CompositeLit) bool {
	t := pass.TypesInfo.TypeOf(n).Underlying()
	for i, element := range n.Elts {
		kv, keyed := element.(*ast.KeyValueExpr)
		if keyed {
			element = kv.Value
		}
		if isOwnStruct(pass, element) && types.IsInterface(elementType(pass, t, kv, i)) {
			return true
		}
	}
	return false
}

// elementType returns the type that a literal of type t wants for its i-th
// element, which is kv if the elements have keys.
func elementType(pass *analysis.Pass, t types.Type, kv *ast.KeyValueExpr, i int) types.Type {
	switch t := t.(type) {
	case *types.Struct:
		if kv != nil {
			return pass.TypesInfo.TypeOf(kv.Key)
		}
		return t.Field(i).Type()
	case interface{ Elem() types.Type }: // a slice, an array, a map
		return t.Elem()
	}
	return types.Typ[types.Invalid]
}

func assertsOwnInterface(pass *analysis.Pass, c inspector.Cursor) bool {
	var asserted []ast.Expr
	switch n := c.Node().(type) {
	case *ast.TypeAssertExpr:
		asserted = []ast.Expr{n.Type}
	case *ast.CaseClause:
		asserted = n.List
	}
	return slices.ContainsFunc(asserted, func(e ast.Expr) bool { return isOwnInterface(pass, e) })
}

// isOwnInterface reports whether e is a type, and an interface with methods
// that this package declares or spells out on the spot.
func isOwnInterface(pass *analysis.Pass, e ast.Expr) bool {
	tv := pass.TypesInfo.Types[e]
	if !tv.IsType() {
		return false
	}
	i, ok := tv.Type.Underlying().(*types.Interface)
	_, literal := types.Unalias(tv.Type).(*types.Interface)
	return ok && i.NumMethods() > 0 && (literal || isOwn(pass, tv.Type))
}

func hasStruct(pass *analysis.Pass, values []ast.Expr) bool {
	return slices.ContainsFunc(values, func(e ast.Expr) bool { return isOwnStruct(pass, e) })
}

// isOwnStruct reports whether e is a value, not a pointer, of a struct type of the package.
func isOwnStruct(pass *analysis.Pass, e ast.Expr) bool {
	t := pass.TypesInfo.TypeOf(e)
	if !isOwn(pass, t) {
		return false
	}
	_, ok := t.Underlying().(*types.Struct)
	return ok
}

func isOwn(pass *analysis.Pass, t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() == pass.Pkg
}
