package traps

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/edge"
	"golang.org/x/tools/go/ast/inspector"
)

func isBadReceive(pass *analysis.Pass, c inspector.Cursor) bool {
	if r, ok := c.Node().(*ast.ReturnStmt); ok {
		return slices.ContainsFunc(r.Results, isReceive)
	}
	n := c.Node().(*ast.AssignStmt)
	return slices.ContainsFunc(n.Rhs, isReceive) && (n.Tok == token.ASSIGN || redeclares(pass, n.Lhs[0]))
}

func isReceive(e ast.Expr) bool {
	u, ok := ast.Unparen(e).(*ast.UnaryExpr)
	return ok && u.Op == token.ARROW
}

// redeclares reports whether e, left of :=, stands for a variable that existed before.
func redeclares(pass *analysis.Pass, e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name != "_" && pass.TypesInfo.Defs[id] == nil
}

func isListedCondition(pass *analysis.Pass, c inspector.Cursor) bool {
	s, ok := c.Parent().Parent().Node().(*ast.SwitchStmt)
	if !ok || len(c.Node().(*ast.CaseClause).List) < 2 {
		return false
	}
	return s.Tag == nil || isBoolean(pass.TypesInfo.TypeOf(s.Tag))
}

func isBoolean(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

func isInLoop(_ *analysis.Pass, c inspector.Cursor) bool {
	_, ok := first(c.Enclosing(function, literal, forLoop, rangeLoop)).(ast.Stmt)
	return ok
}

func isReassigned(pass *analysis.Pass, c inspector.Cursor) bool {
	d := c.Node().(*ast.DeferStmt)
	operands := locals(pass, d.Call)
	fn := first(c.Enclosing(function, literal))
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		found = found || n != nil && n.Pos() > d.End() && assignsTo(pass, n, operands)
		return !found
	})
	return found
}

// locals lists the variables that call reads itself, and not in a closure.
func locals(pass *analysis.Pass, call *ast.CallExpr) []types.Object {
	var found []types.Object
	ast.Inspect(call, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if v, ok := pass.TypesInfo.Uses[id].(*types.Var); ok && !v.IsField() && v.Parent() != pass.Pkg.Scope() {
				found = append(found, v)
			}
		}
		_, closure := n.(*ast.FuncLit)
		return !closure
	})
	return found
}

func assignsTo(pass *analysis.Pass, n ast.Node, vars []types.Object) bool {
	var targets []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		targets = n.Lhs
	case *ast.IncDecStmt:
		targets = []ast.Expr{n.X}
	}
	return slices.ContainsFunc(targets, func(e ast.Expr) bool {
		id, ok := ast.Unparen(e).(*ast.Ident)
		return ok && slices.Contains(vars, pass.TypesInfo.Uses[id])
	})
}

// isKeptLoopVariable is about uses that may outlive the iteration: in a closure
// that is not called on the spot, or behind an ampersand.
func isKeptLoopVariable(pass *analysis.Pass, c inspector.Cursor) bool {
	v, ok := pass.TypesInfo.Uses[c.Node().(*ast.Ident)].(*types.Var)
	if !ok {
		return false
	}
	kept := isAddressed(c)
	for e := range c.Enclosing(literal, forLoop, rangeLoop) {
		if declares(e.Node(), v) {
			return kept
		}
		_, closure := e.Node().(*ast.FuncLit)
		kept = kept || closure && !isCalledOnTheSpot(e)
	}
	return false
}

func isAddressed(c inspector.Cursor) bool {
	u, ok := c.Parent().Node().(*ast.UnaryExpr)
	return ok && u.Op == token.AND
}

// declares reports whether n is a loop and v one of the variables in its header.
func declares(n ast.Node, v *types.Var) bool {
	switch n := n.(type) {
	case *ast.ForStmt:
		return n.Init != nil && n.Init.Pos() <= v.Pos() && v.Pos() < n.Init.End()
	case *ast.RangeStmt:
		return n.Pos() <= v.Pos() && v.Pos() < n.X.Pos()
	}
	return false
}

func isCalledOnTheSpot(c inspector.Cursor) bool {
	if c.ParentEdgeKind() != edge.CallExpr_Fun {
		return false
	}
	use := c.Parent().ParentEdgeKind()
	return use != edge.GoStmt_Call && use != edge.DeferStmt_Call
}

func isLabelledJump(_ *analysis.Pass, c inspector.Cursor) bool {
	n := c.Node().(*ast.BranchStmt)
	return n.Label != nil && n.Tok != token.GOTO
}

func assignsCallAmongOthers(_ *analysis.Pass, c inspector.Cursor) bool {
	n := c.Node().(*ast.AssignStmt)
	return n.Tok == token.ASSIGN && len(n.Rhs) > 1 && slices.ContainsFunc(n.Rhs, isCall)
}

func isCall(e ast.Expr) bool {
	_, ok := ast.Unparen(e).(*ast.CallExpr)
	return ok
}

func assignsNilAmongOthers(pass *analysis.Pass, c inspector.Cursor) bool {
	n := c.Node().(*ast.AssignStmt)
	return len(n.Rhs) > 1 && slices.ContainsFunc(n.Rhs, func(e ast.Expr) bool {
		return pass.TypesInfo.Types[e].IsNil()
	})
}

// hidesParameters is false where there is no body for them to be mixed up with.
func hidesParameters(_ *analysis.Pass, c inspector.Cursor) bool {
	var t *ast.FuncType
	var body *ast.BlockStmt
	switch n := c.Node().(type) {
	case *ast.FuncDecl:
		t, body = n.Type, n.Body
	case *ast.FuncLit:
		t, body = n.Type, n.Body
	}
	return body != nil && len(body.List) > 0 && len(t.Params.List) > 0 && len(t.Params.List[0].Names) == 0
}

func isNewRange(pass *analysis.Pass, c inspector.Cursor) bool {
	switch t := pass.TypesInfo.TypeOf(c.Node().(*ast.RangeStmt).X).Underlying().(type) {
	case *types.Signature:
		return true
	case *types.Basic:
		return t.Info()&types.IsInteger != 0
	}
	return false
}
