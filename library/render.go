package library

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/hishamos/hishamos/domain"
)

// Prompt is what a model is asked.
type Prompt struct {
	System string
	User   string
}

// ErrInvalidParameter is the sentinel of refused parameter values.
var ErrInvalidParameter = &domain.Error{Kind: domain.Invalid, Code: "template.invalid_parameter", Message: "a parameter is not valid"}

// Render makes the prompt of an agent answering a template. Values never act
// as template syntax, and an untrusted one always stands between fences that
// its author cannot know: they come from random, once per call.
func Render(a *Agent, t *Template, values map[string]json.RawMessage, random io.Reader) (Prompt, error) {
	task, err := RenderTask(t, values, random)
	if err != nil {
		return Prompt{}, err
	}
	var system, user strings.Builder
	fmt.Fprintf(&system, "You are the %s.\n", a.Name)
	for _, part := range a.Prompt.Parts() {
		fmt.Fprintf(&system, "\n## %s\n\n%s\n", part[0], strings.TrimSpace(part[1]))
	}
	fmt.Fprintf(&system, "\n## Rules of this task\n\n%s\n", strings.TrimSpace(t.Prompt.System))
	user.WriteString(strings.TrimSpace(task))
	user.WriteString("\n\n## Method\n\n")
	for i, step := range t.Prompt.Method {
		fmt.Fprintf(&user, "%d. %s\n", i+1, strings.TrimSpace(step))
	}
	fmt.Fprintf(&user, "\n## If the input is not enough\n\n%s\n", strings.TrimSpace(t.Prompt.WhenInsufficient))
	for _, e := range t.Prompt.Examples {
		out, err := json.Marshal(e.Output)
		if err != nil {
			return Prompt{}, fmt.Errorf("render example of %s: %w", t.ID, err)
		}
		fmt.Fprintf(&user, "\n## Example\n\nInput:\n%s\nAnswer:\n%s\n", strings.TrimSpace(e.Input), out)
	}
	user.WriteString("\nAnswer with one JSON value that fits the schema of this task, and nothing else.\n")
	return Prompt{System: system.String(), User: user.String()}, nil
}

// RenderTask renders the templated part alone: what a preview shows.
func RenderTask(t *Template, values map[string]json.RawMessage, random io.Reader) (string, error) {
	bound, err := domain.BindInputs(t.Parameters, values)
	if err != nil {
		if e, ok := errors.AsType[*domain.Error](err); ok {
			return "", ErrInvalidParameter.With("%s", e.Error()).At(strings.TrimPrefix(e.Field, "inputs."))
		}
		return "", err
	}
	fence, err := newFence(bound, random)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", t.ID, err)
	}
	data := make(map[string]any, len(t.Parameters))
	for _, p := range t.Parameters {
		raw, given := bound[p.Name]
		switch {
		case !given:
			data[p.Name] = nil
		case p.Trust == "untrusted":
			data[p.Name] = &block{name: p.Name, kind: p.Type, fence: fence, value: raw}
		default:
			if data[p.Name], err = plain(raw); err != nil {
				return "", fmt.Errorf("render %s: %w", t.ID, err)
			}
		}
	}
	tmpl, err := parseTask(t)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", t.ID, err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, data); err != nil {
		return "", fmt.Errorf("render %s: %w", t.ID, err)
	}
	return b.String(), nil
}

// block is an untrusted value. The only thing a template can do with it is
// print it, and it prints itself between fences.
type block struct {
	name, kind, fence string
	value             json.RawMessage
}

// String implements fmt.Stringer.
func (b *block) String() string {
	text := string(b.value)
	var s string
	if json.Unmarshal(b.value, &s) == nil {
		text = s
	} else {
		var indented bytes.Buffer
		if json.Indent(&indented, b.value, "", " ") == nil {
			text = indented.String()
		}
	}
	return fmt.Sprintf("<data name=%q type=%q fence=%q>\n%s\n</data fence=%q>", b.name, b.kind, b.fence, strings.TrimRight(text, "\n"), b.fence)
}

// newFence draws a fence that none of the values contains.
func newFence(values map[string]json.RawMessage, random io.Reader) (string, error) {
	for range 8 {
		var b [12]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", fmt.Errorf("draw a fence: %w", err)
		}
		fence, free := hex.EncodeToString(b[:]), true
		for _, v := range values {
			free = free && !bytes.Contains(v, []byte(fence))
		}
		if free {
			return fence, nil
		}
	}
	return "", errors.New("draw a fence: the values contain every fence drawn")
}

// plain gives a trusted value a form that prints as it was written.
func plain(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func parseTask(t *Template) (*template.Template, error) {
	return template.New(t.ID).Option("missingkey=error").Funcs(template.FuncMap{
		"join": func(items []any, sep string) string {
			texts := make([]string, len(items))
			for i, item := range items {
				texts[i] = fmt.Sprint(item)
			}
			return strings.Join(texts, sep)
		},
	}).Parse(t.Prompt.Task)
}

// Used lists the parameters a template's task names, sorted.
func (t *Template) Used() ([]string, error) {
	tmpl, err := parseTask(t)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	walk(tmpl.Tree.Root, seen)
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// walk notes the first part of every field in a parse tree.
func walk(n parse.Node, seen map[string]bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, c := range n.Nodes {
			walk(c, seen)
		}
	case *parse.ActionNode:
		walk(n.Pipe, seen)
	case *parse.IfNode:
		walkBranch(n.BranchNode, seen)
	case *parse.RangeNode:
		walkBranch(n.BranchNode, seen)
	case *parse.WithNode:
		walkBranch(n.BranchNode, seen)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			for _, arg := range c.Args {
				walk(arg, seen)
			}
		}
	case *parse.FieldNode:
		seen[n.Ident[0]] = true
	case *parse.ChainNode:
		walk(n.Node, seen)
	}
}

func walkBranch(b parse.BranchNode, seen map[string]bool) {
	walk(b.Pipe, seen)
	walk(b.List, seen)
	walk(b.ElseList, seen)
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
