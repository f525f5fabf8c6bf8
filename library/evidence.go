package library

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

var (
	newFile = regexp.MustCompile(`^\+\+\+ (?:b/)?(\S+)`)
	hunk    = regexp.MustCompile(`^@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@`)
	figure  = regexp.MustCompile(`\d+(?:[.,:]\d+)*`)
	word    = regexp.MustCompile(`\p{L}+`)
)

// misplaced finds an entry whose file and line the diff does not show, or whose
// quote does not begin on that line. Line 0 is about the change as a whole; a
// text that is no diff has no lines to compare with.
func misplaced(entries []any, diff string) string {
	lines := shown(diff)
	if len(lines) == 0 {
		return ""
	}
	for _, e := range entries {
		entry, ok := e.(map[string]any)
		if !ok {
			continue
		}
		file, line := text(entry["file"]), 0
		if n, ok := entry["line"].(float64); ok {
			line = int(n)
		}
		there, ok := lines[file]
		if !ok {
			return fmt.Sprintf("the diff does not show a file %q", file)
		}
		content, ok := there[line]
		if !ok && line != 0 {
			return fmt.Sprintf("the diff does not show line %d of %s", line, file)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(text(entry["quote"])), "\n")
		if line != 0 && !strings.Contains(squeeze(content), squeeze(first)) {
			return fmt.Sprintf("line %d of %s is not %q", line, file, shorten(first))
		}
	}
	return ""
}

// shown are the lines of the new files that a diff shows: file → number → text.
func shown(diff string) map[string]map[int]string {
	lines, file, next := map[string]map[int]string{}, "", 0
	for line := range strings.Lines(diff) {
		line = strings.TrimRight(line, "\r\n")
		if m := newFile.FindStringSubmatch(line); m != nil {
			file, next = m[1], 0
			lines[file] = map[int]string{}
			continue
		}
		if m := hunk.FindStringSubmatch(line); m != nil {
			next, _ = strconv.Atoi(m[1]) // a number too large to read matches no entry
			continue
		}
		if next == 0 || file == "" || strings.HasPrefix(line, "-") || strings.HasPrefix(line, `\`) {
			continue
		}
		content, _ := strings.CutPrefix(line, "+")
		lines[file][next] = content
		next++
	}
	return lines
}

// inventedFigure finds a figure the input does not hold.
func inventedFigure(values []any, said string) string {
	known := map[string]bool{}
	for _, f := range figure.FindAllString(said, -1) {
		known[f] = true
	}
	for _, v := range values {
		for _, f := range figure.FindAllString(text(v), -1) {
			if !known[f] {
				return fmt.Sprintf("%q holds the figure %s, which is not in the input", shorten(text(v)), f)
			}
		}
	}
	return ""
}

// frequent are short words that tell languages apart: the names are those of
// the parameter "language".
var frequent = map[string]map[string]bool{
	"english": setOf("the of and to is that for it with as was on are by be at this from have not which must can no"),
	"german":  setOf("der die das und ist nicht ein eine zu den mit sich auf für von dem des wird muss werden auch kann"),
	"french":  setOf("le les des et est une du que pour dans qui pas sur avec au par sont être peut doit"),
	"spanish": setOf("el los las y es una que para con por del se su como está ser puede debe lo"),
}

func setOf(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// languageOf names the language of a text, or "" if too little shows it.
func languageOf(s string) string {
	counts, best, second := map[string]int{}, "", 0
	for _, w := range word.FindAllString(strings.ToLower(s), -1) {
		if r := []rune(w)[0]; unicode.Is(unicode.Arabic, r) {
			counts["arabic"]++
		}
		for name, words := range frequent {
			if words[w] {
				counts[name]++
			}
		}
	}
	for name, n := range counts {
		if n > counts[best] || n == counts[best] && name < best {
			best = name
		}
	}
	for name, n := range counts {
		if name != best {
			second = max(second, n)
		}
	}
	if counts[best] < 2 || counts[best] < 2*second {
		return ""
	}
	return best
}

// foreign finds a text in another language than wanted. A value of the input
// that is the name of a language asks for it; else the input's own counts, and
// if that cannot be told, the one most of the answer is in.
func foreign(values, input []any) string {
	want := ""
	for _, v := range input {
		if name := text(v); frequent[name] != nil || name == "arabic" {
			want = name
		}
	}
	if want == "" {
		want = languageOf(allText(input))
	}
	if want == "" {
		want = languageOf(allText(values))
	}
	for _, v := range values {
		if is := languageOf(text(v)); is != "" && want != "" && is != want {
			return fmt.Sprintf("%q is %s, not %s", shorten(text(v)), is, want)
		}
	}
	return ""
}
