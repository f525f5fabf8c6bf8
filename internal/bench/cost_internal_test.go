package bench

import "testing"

func TestAProcessMayHaveAnyName(t *testing.T) {
	t.Parallel()
	p, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 200 100 20 0 1 0 999")
	if err != nil || p.name != "a) b (c" || p.parent != 7 || p.cpu != 5 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, broken := range []string{"", "42", "42 (a", "42 (a) S 7", "42 (a) S x 42 42 0 -1 4194304 1 2 3 4 150 50 200 100 20"} {
		if _, err := parseStat(broken); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}
