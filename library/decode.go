package library

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// decode fills a struct from a node, strictly: an unknown key or a value of the
// wrong type is a problem with a place. The names are those of the json tags.
func decode(r *report, n *node, into any) bool {
	before := len(r.problems)
	fits(r, n, reflect.TypeOf(into).Elem(), "")
	if len(r.problems) > before {
		return false
	}
	var b bytes.Buffer
	n.writeJSON(&b)
	if err := json.Unmarshal(b.Bytes(), into); err != nil {
		r.add(n, "", "", "%s", err)
		return false
	}
	return true
}

var (
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// fits checks a node against a Go type.
func fits(r *report, n *node, t reflect.Type, path string) {
	if t == rawType || t.Kind() == reflect.Interface {
		return
	}
	if reflect.PointerTo(t).Implements(textType) {
		v, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler)
		if !ok || n.kind == listNode || n.kind == mapNode || n.kind == nullNode {
			r.add(n, path, "write it as text", "is %s", nodeNames[n.kind])
		} else if err := v.UnmarshalText([]byte(n.text)); err != nil {
			r.add(n, path, "", "%s", err)
		} else if n.kind != textNode {
			r.add(n, path, fmt.Sprintf("write %q", n.text), "must be text in quotes")
		}
		return
	}
	want := func(kind int, ok bool) bool {
		if !ok {
			fix := "write " + nodeNames[kind]
			if kind == textNode && n.kind < textNode && n.kind > nullNode {
				fix = fmt.Sprintf("put it in quotes: %q", n.text)
			}
			r.add(n, path, fix, "is %s, not %s", nodeNames[n.kind], nodeNames[kind])
		}
		return ok
	}
	switch t.Kind() {
	case reflect.Pointer:
		fits(r, n, t.Elem(), path)
	case reflect.String:
		want(textNode, n.kind == textNode)
	case reflect.Bool:
		want(boolNode, n.kind == boolNode)
	case reflect.Int, reflect.Int64, reflect.Int32:
		if want(intNode, n.kind == intNode) && len(n.text) > 18 {
			r.add(n, path, "write a smaller number", "is too large")
		}
	case reflect.Float64:
		want(floatNode, n.kind == intNode || n.kind == floatNode)
	case reflect.Slice:
		if want(listNode, n.kind == listNode) {
			for i, item := range n.items {
				fits(r, item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
			}
		}
	case reflect.Map:
		if want(mapNode, n.kind == mapNode) {
			for _, f := range n.fields {
				fits(r, f.value, t.Elem(), join(path, f.name))
			}
		}
	case reflect.Struct:
		if want(mapNode, n.kind == mapNode) {
			fitsStruct(r, n, t, path)
		}
	default:
		r.add(n, path, "", "cannot be read as %s", t)
	}
}

func fitsStruct(r *report, n *node, t reflect.Type, path string) {
	names, types := keysOf(t)
	for _, f := range n.fields {
		ft, ok := types[f.name]
		if !ok {
			r.add(&node{line: f.line, column: f.column}, join(path, f.name), suggest(f.name, names), "unknown key %q", f.name)
			continue
		}
		fits(r, f.value, ft, join(path, f.name))
	}
}

func keysOf(t reflect.Type) (names []string, types map[string]reflect.Type) {
	types = map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			more, inner := keysOf(f.Type)
			names = append(names, more...)
			for k, v := range inner {
				types[k] = v
			}
		case name != "-" && name != "":
			names = append(names, name)
			types[name] = f.Type
		}
	}
	return names, types
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
