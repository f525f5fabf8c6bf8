package library

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/hishamos/hishamos/domain"
)

// The limits of a file. They hold before anything recursive looks at it.
const (
	MaxFileSize = 1 << 20
	MaxDepth    = 64
	// The YAML reader's time grows with the square of these.
	maxKeys   = 1000   // of one mapping
	maxItems  = 10_000 // of one list
	maxBlanks = 500    // lines without text in a row
)

// parseSource reads YAML or, when the first character is a brace, JSON.
func parseSource(r *report, data []byte) *node {
	here := &node{line: 1, column: 1}
	switch trimmed := bytes.TrimLeft(data, " \t\r\n"); {
	case len(data) > MaxFileSize:
		r.add(here, "", "send at most 1 MiB", "the file has %d bytes", len(data))
		r.problems[len(r.problems)-1].kind = domain.TooLarge
		return nil
	case !utf8.Valid(data):
		r.add(here, "", "save it as UTF-8", "the file is not UTF-8")
		return nil
	case len(trimmed) == 0:
		r.add(here, "", "write the definition into it", "the file is empty")
		return nil
	case trimmed[0] == '{':
		return parseJSON(r, data)
	default:
		return parseYAML(r, data)
	}
}

func parseYAML(r *report, data []byte) (root *node) {
	defer func() { // the YAML library has panicked on malformed input before
		if p := recover(); p != nil {
			r.add(&node{line: 1, column: 1}, "", "check the indentation and the quotes", "the file is not YAML")
			root = nil
		}
	}()
	if line := manyBlanks(data); line > 0 {
		r.add(&node{line: line, column: 1}, "", "remove them", "more than %d blank lines follow each other", maxBlanks)
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if !bounded(r, tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
			r.add(place(e.GetToken()), "", "check the indentation and the quotes", "%s", e.GetMessage())
		} else {
			r.add(&node{line: 1, column: 1}, "", "check the indentation and the quotes", "the file is not YAML")
		}
		return nil
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			r.add(place(d.Body.GetToken()), "", "put each into a file of its own", "the file holds more than one document")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.add(&node{line: 1, column: 1}, "", "write the definition into it", "the file is empty")
		return nil
	}
	before := len(r.problems)
	if root = fromYAML(r, body); len(r.problems) > before {
		return nil
	}
	return root
}

// bounded checks depth and width. It works on tokens, because the parser behind
// them recurses.
func bounded(r *report, tokens token.Tokens) bool {
	type level struct{ column, keys, items int }
	flow, levels := 0, []level(nil)
	for _, t := range tokens {
		column := t.Position.Column
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.MappingValueType:
			if t.Prev != nil && t.Prev.Position.Line == t.Position.Line {
				column = t.Prev.Position.Column
			}
			fallthrough
		case token.SequenceEntryType, token.MappingKeyType:
			if flow > 0 {
				break
			}
			for len(levels) > 0 && levels[len(levels)-1].column > column {
				levels = levels[:len(levels)-1]
			}
			if len(levels) == 0 || levels[len(levels)-1].column < column {
				levels = append(levels, level{column: column})
			}
			top := &levels[len(levels)-1]
			if t.Type == token.SequenceEntryType {
				top.items++
			} else {
				top.keys++
			}
			if top.keys > maxKeys || top.items > maxItems {
				r.add(place(t), "", "use fewer", "a mapping has more than %d keys, or a list more than %d entries", maxKeys, maxItems)
				return false
			}
		}
		if flow+len(levels) > MaxDepth {
			r.add(place(t), "", "nest less", "the file is nested deeper than %d levels", MaxDepth)
			return false
		}
	}
	return true
}

// manyBlanks is the line at which there are too many blank lines, or 0.
func manyBlanks(data []byte) int {
	line, blanks := 0, 0
	for l := range bytes.Lines(data) {
		line++
		if blanks++; len(bytes.TrimSpace(l)) > 0 {
			blanks = 0
		}
		if blanks > maxBlanks {
			return line
		}
	}
	return 0
}

func place(t *token.Token) *node {
	if t == nil || t.Position == nil {
		return &node{line: 1, column: 1}
	}
	return &node{line: t.Position.Line, column: t.Position.Column}
}

func fromYAML(r *report, a ast.Node) *node {
	n := place(a.GetToken())
	switch a := a.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		n.kind, n.text = boolNode, strconv.FormatBool(a.Value)
	case *ast.IntegerNode:
		n.kind, n.text = intNode, fmt.Sprint(a.Value)
	case *ast.FloatNode:
		b, err := json.Marshal(a.Value)
		if err != nil {
			r.add(n, "", "write it in digits", "%q is not a number", a.String())
		}
		n.kind, n.text = floatNode, string(b)
	case *ast.StringNode:
		n.kind, n.text = textNode, a.Value
	case *ast.LiteralNode:
		n.kind, n.text = textNode, a.Value.Value
	case *ast.SequenceNode:
		n.kind = listNode
		for _, v := range a.Values {
			n.items = append(n.items, fromYAML(r, v))
		}
	case *ast.MappingNode:
		n.kind = mapNode
		for _, v := range a.Values {
			fromPair(r, n, v)
		}
		if len(a.Values) > 0 {
			first := a.Values[0].Key.GetToken()
			n.line, n.column = first.Position.Line, first.Position.Column
		}
	case *ast.MappingValueNode:
		first := place(a.Key.GetToken())
		n.kind, n.line, n.column = mapNode, first.line, first.column
		fromPair(r, n, a)
	case *ast.AnchorNode, *ast.AliasNode:
		r.add(n, "", "write the value out where it is used", "anchors and aliases are not allowed")
	case *ast.TagNode:
		r.add(n, "", "leave the tag out", "tags are not allowed")
	case *ast.InfinityNode, *ast.NanNode:
		r.add(n, "", "write a number in digits", "%s is not a number JSON can hold", a.String())
	default:
		r.add(n, "", "write text, a number, a list or a mapping", "%s is not allowed here", strings.ToLower(a.Type().String()))
	}
	return n
}

func fromPair(r *report, n *node, pair *ast.MappingValueNode) {
	key := place(pair.Key.GetToken())
	name, ok := "", true
	switch k := pair.Key.(type) {
	case *ast.StringNode:
		name = k.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		name = k.GetToken().Value
	case *ast.MergeKeyNode:
		r.add(key, "", "write the value out where it is used", "merge keys are not allowed")
		return
	default:
		ok = false
	}
	if !ok {
		r.add(key, "", "use plain text as the key", "a key must be text")
		return
	}
	if n.child(name) != nil {
		r.add(key, name, "keep one of them", "the key is there twice")
		return
	}
	n.put(name, key, fromYAML(r, pair.Value))
}

// jsonReader builds nodes from the tokens of encoding/json.
type jsonReader struct {
	*json.Decoder
	r    *report
	data []byte
	last int // offset, line and column of the last place asked for
	line int
	col  int
}

var errReported = errors.New("reported")

func parseJSON(r *report, data []byte) *node {
	j := &jsonReader{Decoder: json.NewDecoder(bytes.NewReader(data)), r: r, data: data, line: 1, col: 1}
	j.UseNumber()
	root, err := j.value(0)
	if err == nil {
		rest := j.here()
		if _, end := j.Token(); !errors.Is(end, io.EOF) {
			j.r.add(rest, "", "remove it", "there is text after the value")
			return nil
		}
		return root
	}
	if !errors.Is(err, errReported) {
		at := j.here()
		if s, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = j.where(int(s.Offset) - 1)
		}
		r.add(at, "", "check the commas and the quotes", "the file is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// here is the place of the next token.
func (j *jsonReader) here() *node {
	at := int(j.InputOffset())
	for at < len(j.data) && strings.IndexByte(" \t\r\n:,", j.data[at]) >= 0 {
		at++
	}
	return j.where(at)
}

// where turns a byte offset, never smaller than the one before, into a place.
func (j *jsonReader) where(at int) *node {
	for ; j.last < at && j.last < len(j.data); j.last++ {
		if j.data[j.last] == '\n' {
			j.line, j.col = j.line+1, 1
		} else if j.data[j.last]&0xC0 != 0x80 { // count characters, not bytes
			j.col++
		}
	}
	return &node{line: j.line, column: j.col}
}

func (j *jsonReader) value(depth int) (*node, error) {
	n := j.here()
	if depth > MaxDepth {
		j.r.add(n, "", "nest less", "the file is nested deeper than %d levels", MaxDepth)
		return nil, errReported
	}
	t, err := j.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
	case bool:
		n.kind, n.text = boolNode, strconv.FormatBool(t)
	case json.Number:
		n.kind, n.text = floatNode, t.String()
		if !strings.ContainsAny(n.text, ".eE") {
			n.kind = intNode
		}
	case string:
		n.kind, n.text = textNode, t
	case json.Delim:
		return j.container(n, t, depth)
	}
	return n, nil
}

func (j *jsonReader) container(n *node, open json.Delim, depth int) (*node, error) {
	n.kind = listNode
	if open == '{' {
		n.kind = mapNode
	}
	for j.More() {
		if n.kind == listNode {
			item, err := j.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
			continue
		}
		at := j.here()
		key, err := j.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			j.r.add(at, "", "use text in quotes as the key", "a key must be text")
			return nil, errReported
		}
		if n.child(name) != nil {
			j.r.add(at, name, "keep one of them", "the key is there twice")
			return nil, errReported
		}
		v, err := j.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.put(name, at, v)
	}
	_, err := j.Token()
	return n, err
}
