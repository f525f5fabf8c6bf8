package simulated

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// source is what the prompt's data blocks hold.
type source struct {
	units   []unit   // pieces of text, in order
	tables  []table  // lists of records, in order
	scalars []scalar // single values of records
	blocks  []string // their names
}

// unit is one sentence, list item or changed line, exactly as it was written.
type unit struct {
	text  string
	block string
	file  string // of a changed line
	line  int    // in the block, or in the changed file
	code  bool
}

// table is a list of records in a JSON block, such as the stories an earlier
// step wrote.
type table struct {
	name    string
	records []map[string]any
}

type scalar struct {
	name  string
	value any
}

var block = regexp.MustCompile(`(?s)<data name="([^"]*)" type="([^"]*)" fence="([0-9a-f]+)">\n(.*?)\n</data fence="([0-9a-f]+)">`)

// read takes the data blocks of a prompt apart. A prompt without blocks is one
// block itself.
func read(prompt string) *source {
	src := &source{}
	found := block.FindAllStringSubmatch(prompt, -1)
	for _, m := range found {
		name, kind, body := m[1], m[2], m[4]
		src.blocks = append(src.blocks, name)
		var v any
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		switch first := bytes.TrimSpace([]byte(body)); {
		case len(first) > 0 && (first[0] == '{' || first[0] == '[') && d.Decode(&v) == nil:
			src.collect(name, v)
		case kind == "diff":
			src.readDiff(name, body)
		default:
			src.readText(name, body)
		}
	}
	if len(found) == 0 {
		src.readText("", prompt)
	}
	if code := slices.DeleteFunc(slices.Clone(src.units), func(u unit) bool { return !u.code }); len(code) > 0 {
		src.units = code // remarks beside a change are not what is reviewed
	}
	return src
}

// collect finds lists of records, at any depth, in the order of their names.
func (s *source) collect(name string, v any) {
	switch v := v.(type) {
	case []any:
		t := table{name: name}
		for _, item := range v {
			if record, ok := item.(map[string]any); ok {
				t.records = append(t.records, record)
			}
		}
		if len(t.records) > 0 {
			s.tables = append(s.tables, t)
		}
	case map[string]any:
		for _, k := range sorted(v) {
			switch inner := v[k].(type) {
			case []any, map[string]any:
				s.collect(k, inner)
			default:
				s.scalars = append(s.scalars, scalar{k, inner})
			}
		}
	}
}

var (
	listMark  = regexp.MustCompile(`^\s*(?:[-*+•]|\d+[.)]|[A-Z]{1,4}-?\d+[.:)])\s+`)
	sentences = regexp.MustCompile(`[.!?]["')\]]?(?:\s+|$)`)
)

// readText splits prose into sentences; a list item or a heading ends one.
func (s *source) readText(name, body string) {
	var paragraph []string
	started := 1
	flush := func() {
		text := strings.Join(paragraph, "\n")
		paragraph = paragraph[:0]
		for from, line := 0, started; from < len(text); {
			to := len(text)
			if end := sentences.FindStringIndex(text[from:]); end != nil {
				to = from + end[1]
			}
			if piece := strings.TrimSpace(text[from:to]); worthy(piece) {
				s.units = append(s.units, unit{text: piece, block: name, line: line})
			}
			line += strings.Count(text[from:to], "\n")
			from = to
		}
	}
	for i, line := range strings.Split(body, "\n") {
		trimmed := strings.TrimSpace(line)
		if mark := listMark.FindString(line); trimmed == "" || mark != "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "|") {
			flush()
			started = i + 1
			if trimmed == "" || trimmed[0] == '#' || trimmed[0] == '|' {
				continue
			}
			line = line[len(mark):]
		} else if len(paragraph) == 0 {
			started = i + 1
		}
		paragraph = append(paragraph, strings.TrimRight(line, " \t\r"))
	}
	flush()
}

// worthy reports whether a piece says something: three words at least.
func worthy(piece string) bool {
	return len(strings.Fields(piece)) >= 3 && strings.IndexFunc(piece, unicode.IsLetter) >= 0
}

var hunk = regexp.MustCompile(`^@@ -\d+(?:,\d+)? \+(\d+)`)

// readDiff keeps the lines a change adds, with file and line.
func (s *source) readDiff(name, body string) {
	file, line := "", 0
	for _, l := range strings.Split(body, "\n") {
		switch {
		case strings.HasPrefix(l, "+++ "):
			file = strings.TrimPrefix(strings.TrimPrefix(l, "+++ "), "b/")
		case strings.HasPrefix(l, "--- "), strings.HasPrefix(l, "diff "):
		case hunk.MatchString(l):
			line, _ = strconv.Atoi(hunk.FindStringSubmatch(l)[1])
		case strings.HasPrefix(l, "+"):
			if text := strings.TrimSpace(l[1:]); len(text) > 9 && strings.IndexFunc(text, unicode.IsLetter) >= 0 {
				s.units = append(s.units, unit{text: text, block: name, file: file, line: line, code: true})
			}
			line++
		case !strings.HasPrefix(l, "-"):
			line++
		}
	}
	if len(s.units) == 0 {
		s.readText(name, body)
	}
}

var (
	duty = regexp.MustCompile(`(?i)\b(must|shall|should|needs? to|has to|have to|will|can|may|wants? to)\b`)
	open = regexp.MustCompile(`(?i)\?$|\b(tbd|to be decided|to be defined|unclear|not yet|open point|unknown|we do not know)\b`)
	soft = regexp.MustCompile(`(?i)\b(fast|quick(ly)?|easy|easily|user-friendly|appropriate|reasonable|flexible|etc|as needed|soon|modern|simple|good|tbd)\b`)
)

// matching returns the units a pattern finds, at most n.
func (s *source) matching(p *regexp.Regexp, n int) (out []unit) {
	for _, u := range s.units {
		if len(out) < n && p.MatchString(u.text) {
			out = append(out, u)
		}
	}
	return out
}

// gist says in one sentence what the input is about.
func (s *source) gist() string {
	var b strings.Builder
	switch {
	case len(s.tables) > 0:
		b.WriteString("The input holds ")
		for i, t := range s.tables[:min(len(s.tables), 3)] {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(strconv.Itoa(len(t.records)) + " " + strings.ReplaceAll(t.name, "_", " "))
		}
		if first := recordText(s.tables[0].records[0]); first != "" {
			b.WriteString("; the first is: " + short(first, 20))
		}
	case len(s.units) > 0 && s.units[0].code:
		files := map[string]bool{}
		for _, u := range s.units {
			files[u.file] = true
		}
		b.WriteString("The change adds " + strconv.Itoa(len(s.units)) + " lines in " + strconv.Itoa(len(files)) + " files, beginning with " + s.units[0].file)
	case len(s.units) > 0:
		b.WriteString("The input begins: " + short(s.units[0].text, 25))
	default:
		b.WriteString("The input is empty")
	}
	return strings.TrimRight(b.String(), ".…") + "."
}

// label is what this provider puts before texts it made up about something.
var label = regexp.MustCompile(`^Simulated [a-z ]+ about: `)

// recordText is the field of a record that reads best.
func recordText(r map[string]any) string {
	for _, k := range []string{"title", "statement", "text", "quote", "summary", "description", "question", "problem", "finding", "i_want", "name"} {
		if s, ok := r[k].(string); ok && s != "" {
			return label.ReplaceAllString(s, "")
		}
	}
	for _, k := range sorted(r) {
		if s, ok := r[k].(string); ok && len(s) > 12 {
			return label.ReplaceAllString(s, "")
		}
	}
	return ""
}

// short cuts a text to a number of words, on one line.
func short(text string, words int) string {
	f := strings.Fields(text)
	if len(f) <= words {
		return strings.Join(f, " ")
	}
	return strings.TrimRight(strings.Join(f[:words], " "), ",;:.") + "…"
}
