package simulated

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// text words a string field.
func (g *generator) text(schema map[string]any, at spot) string {
	if s, ok := g.known(at, at.name).(string); ok && at.name != "id" {
		return fit(schema, s)
	}
	if pattern, _ := schema["pattern"].(string); at.name == "id" || idPattern.MatchString(pattern) && g.word(at) == "" {
		prefix := strings.ToUpper(firstLetter(at.list)) + "-"
		if m := idPattern.FindStringSubmatch(pattern); m != nil {
			prefix = m[1]
		}
		return fit(schema, prefix+strconv.Itoa(at.index+1))
	}
	if d, _ := schema["description"].(string); strings.Contains(d, "empty if") && at.subject() == "" && g.scalar(at.name) == "" {
		return fit(schema, "")
	}
	return fit(schema, g.word(at))
}

func firstLetter(s string) string {
	if s == "" {
		return "x"
	}
	return s[:1]
}

// emphasis takes Markdown's marks out of text that is not a quote.
var emphasis = strings.NewReplacer("**", "", "*", "", "`", "")

// subject is the text a spot is about.
func (at spot) subject() string {
	switch {
	case at.unit != nil:
		return at.unit.text
	case at.record != nil:
		return recordText(at.record)
	}
	return ""
}

// word makes the text of a field from its name and subject.
func (g *generator) word(at spot) string {
	about := at.subject()
	oneLine := strings.Join(strings.Fields(emphasis.Replace(about)), " ")
	if strings.HasSuffix(at.name, "_id") {
		id, _ := at.record["id"].(string)
		return id
	}
	switch at.name {
	case "quote", "evidence", "excerpt":
		if about == "" && len(g.source.units) > 0 {
			return g.source.units[0].text
		}
		return about
	case "file", "path", "component":
		if at.unit != nil && at.unit.file != "" {
			return at.unit.file
		}
		if at.name == "component" {
			return "not named"
		}
		return ""
	case "location", "source", "where":
		return at.where()
	case "finding":
		if id, ok := at.record["id"].(string); ok {
			return id
		}
	}
	if about == "" {
		return g.overall(at)
	}
	s := split(oneLine)
	switch at.name {
	case "statement", "text", "requirement":
		return oneLine
	case "title", "name":
		if !s.person {
			return title(oneLine)
		}
		return title(s.want)
	case "as_a", "role", "actor":
		return s.role
	case "i_want":
		return s.want
	case "so_that", "benefit":
		return s.benefit
	case "given":
		if !s.person {
			return "the situation that the source describes"
		}
		return "the " + s.role + " is signed in and has what the action needs"
	case "when":
		if !s.person {
			return "it arises"
		}
		return "the " + s.role + " tries to " + s.want
	case "then":
		return "the result is as the source states: " + short(oneLine, 24)
	case "question":
		if strings.HasSuffix(oneLine, "?") {
			return oneLine
		}
		return "What exactly is meant by “" + short(oneLine, 18) + "”?"
	}
	return "Simulated " + strings.ReplaceAll(at.name, "_", " ") + " about: " + short(oneLine, 18)
}

// where says from which place a subject comes.
func (at spot) where() string {
	switch {
	case at.unit == nil:
		id, _ := at.record["id"].(string)
		return id
	case at.unit.file != "":
		return fmt.Sprintf("%s:%d", at.unit.file, at.unit.line)
	}
	return fmt.Sprintf("%s, line %d", at.unit.block, at.unit.line)
}

// overall words a field that is about the whole input.
func (g *generator) overall(at spot) string {
	switch at.name {
	case "summary", "overview", "abstract", "message", "body", "conclusion", "answer":
		return "Simulated answer, no model was called. " + g.source.gist()
	case "title", "name":
		if len(g.source.units) > 0 {
			return title(g.source.units[0].text)
		}
		return "Simulated result"
	}
	if s := g.scalar(at.name); s != "" {
		return s
	}
	return "Simulated " + strings.ReplaceAll(at.name, "_", " ") + ". " + g.source.gist()
}

func (g *generator) scalar(name string) string {
	for _, s := range g.source.scalars {
		if text, ok := s.value.(string); ok && s.name == name {
			return text
		}
	}
	return ""
}

// sentence is a requirement taken apart: who, what, what for.
type sentence struct {
	role, want, benefit string
	person              bool // the sentence says what a person does
}

var (
	modal   = regexp.MustCompile(`(?i)\b(?:must|shall|should|needs? to|has to|have to|will|can|may|wants? to)\b(?:\s+(?:be able to|also))?\s+`)
	purpose = regexp.MustCompile(`(?i)[,;]?\s+(?:so that|in order to|because)\s+`)
	article = regexp.MustCompile(`(?i)^(?:the|an?|every|each|all|any|our|my|only)\s+`)
	people  = regexp.MustCompile(`(?i)^(?:user|customer|admin|administrator|manager|clerk|agent|employee|operator|member|guest|visitor|driver|planner|engineer|developer|tester|owner|supervisor|dispatcher|technician|nurse|teacher|student|tenant|caller|reader|editor|staff|team|person|people|buyer|seller|courier|accountant|care|support)s?$`)
)

func split(text string) sentence {
	whole := clean(text)
	s := sentence{role: "user", want: "be sure that " + lower(whole), benefit: "the need of the source is met"}
	if at := purpose.FindStringIndex(text); at != nil {
		s.benefit, text = clean(text[at[1]:]), text[:at[0]]
		s.want = "be sure that " + lower(clean(text))
	}
	at := modal.FindStringIndex(text)
	if at == nil {
		return s
	}
	clause := text[:at[0]]
	if comma := strings.LastIndex(clause, ", "); comma >= 0 {
		clause = clause[comma+2:]
	}
	who := strings.Fields(article.ReplaceAllString(strings.TrimSpace(clause), ""))
	verb := clean(text[at[1]:])
	for n := min(len(who), 3); n > 0; n-- {
		if people.MatchString(strings.Trim(who[n-1], ",;:")) {
			s.role = lower(strings.Join(who[:n], " "))
			if !strings.HasPrefix(verb, "not ") && verb != "" {
				s.want, s.person = verb, true
			}
			break
		}
	}
	return s
}

func clean(s string) string { return strings.TrimRight(strings.TrimSpace(s), " .,;:") }

func lower(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if second, _ := utf8.DecodeRuneInString(s[n:]); unicode.IsUpper(second) { // an abbreviation
		return s
	}
	return string(unicode.ToLower(r)) + s[n:]
}

func title(s string) string {
	s = clean(short(s, 9))
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// choose picks from a list of allowed values.
func (g *generator) choose(list []any, at spot) any {
	if v := g.known(at, at.name); v != nil && slices.Contains(list, v) {
		return v
	}
	if at.size > 0 && at.size == len(list) { // one record for each
		return list[at.index%len(list)]
	}
	about := at.subject()
	if about == "" {
		if v := any(g.scalar(at.name)); slices.Contains(list, v) {
			return v
		}
		for _, v := range list { // such as fix_proposed when there is a fix
			s, _ := v.(string)
			if first, _, _ := strings.Cut(s, "_"); slices.Contains(g.source.blocks, first) {
				return v
			}
		}
		if slices.Contains(list, any("needs_information")) && len(g.source.units) < 3 && len(g.source.tables) == 0 {
			return "needs_information"
		}
		var all strings.Builder
		for _, u := range g.source.units {
			all.WriteString(u.text)
			all.WriteByte('\n')
		}
		about = all.String()
	}
	if slices.Contains(list, any("must")) {
		return byDuty(list, about)
	}
	low := strings.ToLower(about)
	for _, v := range list {
		if s, ok := v.(string); ok && len(s) > 3 && hasWord(low, strings.ReplaceAll(s, "_", " ")) {
			return v
		}
	}
	return list[0]
}

func byDuty(list []any, about string) any {
	low := strings.ToLower(about)
	want := "should"
	switch {
	case hasWord(low, "must"), hasWord(low, "shall"), hasWord(low, "has to"), hasWord(low, "needs to"):
		want = "must"
	case hasWord(low, "may"), hasWord(low, "could"), hasWord(low, "can"):
		want = "could"
	}
	if slices.Contains(list, any(want)) {
		return want
	}
	return list[0]
}

func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		from = i + len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[from:])
		if !unicode.IsLetter(before) && !unicode.IsLetter(after) {
			return true
		}
	}
}

// number fills a number within its bounds.
func (g *generator) number(schema map[string]any, at spot) float64 {
	least, hasLeast := schema["minimum"].(float64)
	most, hasMost := schema["maximum"].(float64)
	if !hasMost {
		most = math.Max(least, 1_000_000)
	}
	n := least
	if v, ok := float(g.known(at, at.name)); ok {
		n = v
	} else if v, ok := float(schema["default"]); ok {
		n = v
	} else if strings.Contains(at.name, "line") && at.unit != nil {
		n = float64(at.unit.line)
	} else if hasLeast && hasMost && at.subject() != "" {
		n = least + float64(len(at.subject())%int(most-least+1))
	}
	return math.Min(math.Max(n, least), most)
}

// truth fills a boolean.
func (g *generator) truth(schema map[string]any, at spot) bool {
	if v, ok := g.known(at, at.name).(bool); ok {
		return v
	}
	if strings.Contains(at.name, "blocking") {
		if about := at.subject(); about != "" {
			return open.MatchString(about)
		}
		return len(g.source.matching(open, 1)) > 0
	}
	v, _ := schema["default"].(bool)
	return v
}
