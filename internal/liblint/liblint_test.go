package liblint_test

import (
	"testing"

	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/internal/liblint"
	"github.com/hishamos/hishamos/library"
)

func TestTheBuiltinLibraryKeepsToAllRules(t *testing.T) {
	t.Parallel()
	lib, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range liblint.Check(lib, expr.Check) {
		t.Error(f)
	}
}

func TestTheChecksOfEachTemplateNoticeFourInFiveMistakes(t *testing.T) {
	t.Parallel()
	lib, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range lib.TemplateIDs() {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			tmpl, _ := lib.Template(id)
			for _, f := range liblint.CheckMutations(tmpl) {
				t.Error(f)
			}
		})
	}
}
