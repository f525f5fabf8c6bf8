package plain_test

import (
	"testing"

	"github.com/hishamos/hishamos/internal/output/plain"
)

func TestTextCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\x1b[2Jb\x07c\r\nd\te":   "a[2Jbc\nd\te",
		"\u202eevil\u2066 \u0085x": "evil x",
		"عربي, ünïcode – ok 🙂":     "عربي, ünïcode – ok 🙂",
		"bad\xffutf8":              "badutf8",
	} {
		if got := plain.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestALineIsOneLineOfBoundedWidth(t *testing.T) {
	t.Parallel()
	if got := plain.Line(" a\n b\t c ", 0); got != "a b c" {
		t.Errorf("%q", got)
	}
	if got := plain.Line("abcdef", 4); got != "abc…" {
		t.Errorf("%q", got)
	}
}
