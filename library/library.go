// Package library holds the product's own agents, prompt templates and stock
// workflows: data under agents, commands and workflows, one file each, read
// strictly. It also reads workflow files that users write.
//
// It must not know how a template is answered or where a run stands. It imports
// domain, the standard library and a YAML reader. Checks that need JSON Schema
// or expressions live in internal/liblint.
//
// Start reading at Load; parse.go and decode.go make errors name their place.
package library

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hishamos/hishamos/domain"
)

//go:embed agents commands workflows samples types.yaml versions.txt
var files embed.FS

// VersionsFile lists the hash of every version of every item that was ever
// published, in lines of hash and name, such as template:coding.propose-bug-fix@1.
const VersionsFile = "versions.txt"

// Library is a set of items that fit together. It does not change.
type Library struct {
	source fs.FS
	read   func() *items
	names  func() map[string]bool // folder and name of every file
}

// items are what the files hold.
type items struct {
	agents    map[string]*Agent
	templates map[string]*Template
	workflows map[string]*Workflow
	types     map[string]any // shared types of answers, by name
	search    *index
}

// Builtin is the library that comes with the program.
func Builtin() (*Library, error) { return Load(files) }

// Deferred is Builtin, read when an item is first asked for: a process that only
// runs what has its definition in the log never does. It panics if it cannot be
// read; then a test failed that reads it.
func Deferred() *Library {
	return newLibrary(files, sync.OnceValue(func() *items {
		l, err := Builtin()
		if err != nil {
			panic(fmt.Sprintf("read the library: %v", err))
		}
		return l.read()
	}))
}

func newLibrary(source fs.FS, read func() *items) *Library {
	return &Library{source, read, sync.OnceValue(func() map[string]bool {
		names := make(map[string]bool)
		for _, folder := range []string{"agents", "workflows"} {
			entries, _ := fs.ReadDir(source, folder) // a library may lack one
			for _, e := range entries {
				names[folder+"/"+e.Name()] = true
			}
		}
		return names
	})}
}

// Read reads what Deferred put off.
func (l *Library) Read() { l.read() }

// HasAgent reports whether there is an agent with an id; a file is named as its
// item, so that nothing has to be read.
func (l *Library) HasAgent(id string) bool { return l.names()["agents/"+id+".yaml"] }

// HasWorkflow is HasAgent for stock workflows.
func (l *Library) HasWorkflow(id string) bool { return l.names()["workflows/"+id+".yaml"] }

// Load reads agents/<id>.yaml, commands/<category>/<id>.yaml,
// workflows/<id>.yaml and types.yaml. The error names every problem of every
// file.
func Load(source fs.FS) (*Library, error) {
	all := &items{agents: map[string]*Agent{}, templates: map[string]*Template{}, workflows: map[string]*Workflow{}}
	l := newLibrary(source, func() *items { return all })
	var problems []error
	note := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	note(l.loadTypes())
	note(loadAll(source, "agents", func(n *node, r *report, a *Agent) { all.agents[a.ID] = a }))
	note(loadAll(source, "commands", l.addTemplate))
	pending := map[*Workflow]func() error{}
	note(loadAll(source, "workflows", func(n *node, r *report, w *Workflow) {
		all.workflows[w.ID] = w
		d := w.ToDefinition()
		r.checkDefinition(n, d, nil)
		pending[w] = func() error {
			again := &report{file: r.file}
			again.checkReferences(n, d, l)
			return again.err()
		}
	}))
	if len(problems) == 0 { // an item that cannot be read would look like a missing one
		for _, id := range l.WorkflowIDs() {
			note(pending[all.workflows[id]]())
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	all.search = newIndex(all.templates)
	return l, nil
}

type item interface {
	header() (schema, kind, id string, version int)
	setHash(string)
}

// loadAll reads every file below a folder; each must be named as its id.
func loadAll[T any, P interface {
	*T
	item
}](source fs.FS, folder string, add func(*node, *report, P)) error {
	var problems []error
	err := fs.WalkDir(source, folder, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == folder {
			return nil
		}
		if err != nil || d.IsDir() || path.Ext(name) != ".yaml" {
			return err
		}
		data, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		r := &report{file: "library/" + name}
		if n := parseSource(r, data); n != nil {
			it := P(new(T))
			if decode(r, n, it) {
				r.checkHeader(n, it)
				_, _, id, _ := it.header()
				if want := strings.TrimSuffix(path.Base(name), ".yaml"); id != want {
					r.add(n.at("id"), "id", "rename one of them", "the id %q differs from the file's name", id)
				}
				it.setHash(contentHash(n))
				add(n, r, it)
			}
		}
		if err := r.err(); err != nil {
			problems = append(problems, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", folder, err)
	}
	return errors.Join(problems...)
}

// checkHeader checks schema, kind, id and version.
func (r *report) checkHeader(n *node, it item) {
	schema, kind, id, version := it.header()
	want := map[string]string{"*library.Agent": "agent", "*library.Template": "template", "*library.Workflow": "workflow"}[fmt.Sprintf("%T", it)]
	if schema != want+"/v1" {
		r.add(n.at("schema"), "schema", fmt.Sprintf("write %s/v1", want), "%q is not a known schema", schema)
	}
	if kind != want {
		r.add(n.at("kind"), "kind", "write "+want, "%q is not the kind of this file", kind)
	}
	if id == "" {
		r.add(n, "id", "name it", "the id is missing")
	}
	if version < 1 {
		r.add(n.at("version"), "version", "count from 1", "%d is not a version", version)
	}
}

// contentHash is the SHA-256 of the content as JSON with sorted keys: layout,
// comments and the record of the review do not change it.
func contentHash(n *node) string {
	var b bytes.Buffer
	n.writeJSON(&b)
	var v any
	d := json.NewDecoder(&b)
	d.UseNumber()
	if err := d.Decode(&v); err != nil { // it was written by us
		panic(fmt.Sprintf("hash library item: %v", err))
	}
	if fields, ok := v.(map[string]any); ok {
		delete(fields, "reviewed_by")
		delete(fields, "reviewed_at")
	}
	canonical, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("hash library item: %v", err))
	}
	h := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(h[:])
}

// Agent returns the agent with an id.
func (l *Library) Agent(id string) (*Agent, bool) { a, ok := l.read().agents[id]; return a, ok }

// Template returns the template with an id.
func (l *Library) Template(id string) (*Template, bool) {
	t, ok := l.read().templates[id]
	return t, ok
}

// Workflow returns the stock workflow with an id.
func (l *Library) Workflow(id string) (*Workflow, bool) {
	w, ok := l.read().workflows[id]
	return w, ok
}

// AgentIDs lists the agents by id.
func (l *Library) AgentIDs() []string { return slices.Sorted(maps.Keys(l.read().agents)) }

// TemplateIDs lists the templates by id.
func (l *Library) TemplateIDs() []string { return slices.Sorted(maps.Keys(l.read().templates)) }

// WorkflowIDs lists the stock workflows by id.
func (l *Library) WorkflowIDs() []string { return slices.Sorted(maps.Keys(l.read().workflows)) }

// AgentRefs are the versions of all agents a run may pin, by id.
func (l *Library) AgentRefs() map[string]domain.Ref { return refs(l.read().agents) }

// TemplateRefs are the versions of all templates a run may pin, by id.
func (l *Library) TemplateRefs() map[string]domain.Ref { return refs(l.read().templates) }

// Pins are the versions of exactly those agents and templates a definition
// names: what a run of it starts with.
func (l *Library) Pins(d domain.Definition) (agents, templates map[string]domain.Ref) {
	agents, templates = map[string]domain.Ref{}, map[string]domain.Ref{}
	for _, s := range d.Steps {
		if a, ok := l.read().agents[s.Agent]; ok {
			agents[a.ID] = a.Ref()
		}
		if t, ok := l.read().templates[s.Template]; ok {
			templates[t.ID] = t.Ref()
		}
	}
	return agents, templates
}

// Sample reads a file that comes with the library, such as
// samples/requirements.md.
func (l *Library) Sample(name string) ([]byte, error) { return fs.ReadFile(l.source, name) }

func refs[T interface{ Ref() domain.Ref }](items map[string]T) map[string]domain.Ref {
	out := make(map[string]domain.Ref, len(items))
	for id, it := range items {
		out[id] = it.Ref()
	}
	return out
}
