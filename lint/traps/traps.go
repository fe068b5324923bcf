// Package traps knows the Go constructs that the compiler accepts and that
// Yaegi v0.16.1, the interpreter in every Traefik 3, runs wrongly or not at all.
//
// The compiler, vet and the compiled tests are blind to all of them. A rule is
// wider than its failure where the edge is hard to see: some of what it reports
// would run. Symbols newer than Go 1.22 are left to vet's stdversion.
package traps

import (
	"go/ast"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

// Analyzer reports the traps outside test files: a test shows its own when it
// runs interpreted.
var Analyzer = &analysis.Analyzer{
	Name:     "traps",
	Doc:      "report constructs that Yaegi, Traefik's interpreter, gets wrong",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      run,
}

// A rule names one trap.
type rule struct {
	name   string     // category of the diagnostic, and its folder under testdata/src
	reason string     // what goes wrong and what to write instead
	nodes  []ast.Node // the kinds of node that match is asked about
	match  func(*analysis.Pass, inspector.Cursor) bool
}

var rules = []rule{
	{
		"select", "the goroutines that run it share its case list; use plain channel operations, timers or locks",
		[]ast.Node{(*ast.SelectStmt)(nil)},
		always,
	},
	{
		"receive", "x = <-c and return <-c drop the value or panic, and so may := of a known x; give it a new name",
		[]ast.Node{(*ast.AssignStmt)(nil), (*ast.ReturnStmt)(nil)},
		isBadReceive,
	},
	{
		"switch", "only the first expression of a boolean case is looked at; join them with ||",
		[]ast.Node{(*ast.CaseClause)(nil)},
		isListedCondition,
	},
	{
		"recover", "a panic here ends Traefik: the first statement must be a defer that recovers",
		[]ast.Node{(*ast.GoStmt)(nil), (*ast.CallExpr)(nil)},
		startsUnguarded,
	},
	{
		"defer-loop", "every iteration's defer runs with the last one's arguments; give each resource a function",
		[]ast.Node{(*ast.DeferStmt)(nil)},
		isInLoop,
	},
	{
		"defer-argument", "a deferred call's operands are read when the function ends; do not assign to them after the defer",
		[]ast.Node{(*ast.DeferStmt)(nil)},
		isReassigned,
	},
	{
		"loop-variable", "the iterations share one variable; copy it before a closure or a pointer keeps it",
		[]ast.Node{(*ast.Ident)(nil)},
		isKeptLoopVariable,
	},
	{
		"label", "a labelled break or continue may hang; return from a function instead",
		[]ast.Node{(*ast.BranchStmt)(nil)},
		isLabelledJump,
	},
	{
		"nil-assignment", "nil among several assigned values panics; use one statement each",
		[]ast.Node{(*ast.AssignStmt)(nil)},
		assignsNilAmongOthers,
	},
	{
		"call-assignment", "a call among several assigned values keeps the others from being assigned; use one statement each",
		[]ast.Node{(*ast.AssignStmt)(nil)},
		assignsCallAmongOthers,
	},
	{
		"unnamed-parameter", "parameters without names share their place with the values of the body; name them _",
		[]ast.Node{(*ast.FuncDecl)(nil), (*ast.FuncLit)(nil)},
		hidesParameters,
	},
	{
		"range", "ranging over an integer or a function does not load; count, or call the function",
		[]ast.Node{(*ast.RangeStmt)(nil)},
		isNewRange,
	},
	{
		"import", "Traefik gives a plugin only the standard library, without unsafe, syscall and the like",
		[]ast.Node{(*ast.ImportSpec)(nil)},
		isDeniedImport,
	},
	{
		"new-builtin", "min, max and clear are unknown; write them out",
		[]ast.Node{(*ast.Ident)(nil)},
		isNewBuiltin,
	},
	{
		"generic", "the standard library's generic types and functions are missing, but for a few tried ones; write it out",
		[]ast.Node{(*ast.Ident)(nil)},
		isGeneric,
	},
	{
		"method-expression", "its receiver is not passed; use a closure",
		[]ast.Node{(*ast.SelectorExpr)(nil)},
		isMethodExpression,
	},
	{
		"method-value", "a method of an interface or of a compiled type is no function value; use a closure",
		[]ast.Node{(*ast.SelectorExpr)(nil)},
		isForeignMethodValue,
	},
	{
		"error-type", "errors.As and errors.Is do not see it; use an errors.New sentinel or a plain struct",
		[]ast.Node{(*ast.TypeSpec)(nil)},
		isErrorType,
	},
	{
		"errors-as", "errors.As panics on a type of this package; use errors.Is with a sentinel",
		[]ast.Node{(*ast.CallExpr)(nil)},
		isAsOwnType,
	},
	{
		"struct-value", "a struct held by value in an interface panics or is aliased; store a pointer",
		[]ast.Node{(*ast.AssignStmt)(nil), (*ast.ValueSpec)(nil), (*ast.CompositeLit)(nil)},
		boxesStruct,
	},
	{
		"own-interface", "a compiled value never satisfies an interface declared here; assert a standard-library type",
		[]ast.Node{(*ast.TypeAssertExpr)(nil), (*ast.CaseClause)(nil)},
		assertsOwnInterface,
	},
	{
		"abort-handler", "Traefik logs a stack trace for it; close the connection and return",
		[]ast.Node{(*ast.CallExpr)(nil)},
		isAbort,
	},
}

func run(pass *analysis.Pass) (any, error) {
	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for file := range root.Children() {
		if isInterpreted(pass.Fset.Position(file.Node().Pos()).Filename) {
			check(pass, file)
		}
	}
	return nil, nil
}

// isInterpreted leaves out tests and what the go command generates for them,
// whose names do not end in .go.
func isInterpreted(file string) bool {
	return strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go")
}

func check(pass *analysis.Pass, file inspector.Cursor) {
	for _, r := range rules {
		for c := range file.Preorder(r.nodes...) {
			if r.match(pass, c) {
				pass.Report(analysis.Diagnostic{
					Pos:      c.Node().Pos(),
					End:      c.Node().End(),
					Category: r.name,
					Message:  r.name + ": " + r.reason,
				})
			}
		}
	}
}

func always(*analysis.Pass, inspector.Cursor) bool { return true }
