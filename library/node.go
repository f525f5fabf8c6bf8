package library

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// The kinds of node: those of JSON.
const (
	nullNode = iota
	boolNode
	intNode
	floatNode
	textNode
	listNode
	mapNode
)

var nodeNames = [...]string{"nothing", "true or false", "a whole number", "a number", "text", "a list", "a mapping"}

// node is a value of a file with the place it was written at. Both YAML and
// JSON become nodes, so both get the same checks and the same messages.
type node struct {
	kind         int
	line, column int
	text         string  // of scalars, as JSON writes numbers
	items        []*node // of a list
	fields       []field // of a mapping, in the order of the file
	index        map[string]*node
}

type field struct {
	name         string
	line, column int
	value        *node
}

func (n *node) child(name string) *node {
	return n.index[name]
}

func (n *node) put(name string, at, value *node) {
	if n.index == nil {
		n.index = map[string]*node{}
	}
	n.index[name] = value
	n.fields = append(n.fields, field{name: name, line: at.line, column: at.column, value: value})
}

// at follows a path such as ("steps", 2, "needs"); it answers with the deepest
// node that exists, so that a problem always has a place.
func (n *node) at(path ...any) *node {
	for _, p := range path {
		var next *node
		switch p := p.(type) {
		case string:
			next = n.child(p)
		case int:
			if p < len(n.items) {
				next = n.items[p]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// writeJSON writes the node as JSON, with the keys in the order of the file.
func (n *node) writeJSON(b *bytes.Buffer) {
	switch n.kind {
	case nullNode:
		b.WriteString("null")
	case boolNode, intNode, floatNode:
		b.WriteString(n.text)
	case textNode:
		b.Write(quote(n.text))
	case listNode:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.writeJSON(b)
		}
		b.WriteByte(']')
	case mapNode:
		b.WriteByte('{')
		for i, f := range n.fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(f.name))
			b.WriteByte(':')
			f.value.writeJSON(b)
		}
		b.WriteByte('}')
	}
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string cannot fail
		return strconv.AppendQuote(nil, s)
	}
	return b
}
