// Package plain makes text from elsewhere safe to print.
//
// It must not know what the text is about. It imports the standard library only.
// Start reading at Text.
package plain

import (
	"strings"
	"unicode"
)

// Text drops what could steer a terminal or hide what is written: control
// characters (escape sequences begin with one), and marks that reverse the
// direction of text. Line breaks and tabs stay.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || r == '\uFFFD' || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
}

// Line is Text on one line, at most width characters wide (0: any).
func Line(s string, width int) string {
	s = strings.Join(strings.Fields(Text(s)), " ")
	if runes := []rune(s); width > 0 && len(runes) > width {
		s = string(runes[:max(0, width-1)]) + "…"
	}
	return s
}
