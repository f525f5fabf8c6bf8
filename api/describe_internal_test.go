package api

import "testing"

func TestEveryOperationIsExplained(t *testing.T) {
	t.Parallel()
	if missing := undescribed(table()); len(missing) > 0 {
		t.Errorf("no explanation of %v: add a row to explanations in describe.go", missing)
	}
	if len(explanations) != len(table()) {
		t.Errorf("%d explanations for %d operations", len(explanations), len(table()))
	}
}
