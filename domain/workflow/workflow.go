// Package workflow is a user's own workflow definition and its versions.
//
// It must not know runs: a run carries the definition it follows. It imports
// domain, domain/expr, events and commands. Start reading at Decide.
//
// The states: new → kept → archived. The rules:
//
//  1. A definition is checked whole before it is kept: graph, names and every
//     expression. What is kept can be run.
//  2. Versions count from 1, without a gap. Whoever asks does not choose them.
//  3. A revision that changes nothing is no version.
//  4. An archived workflow never changes again.
package workflow

import (
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/events"
)

// Decider is the workflow as a value.
var Decider = domain.Decider[State, commands.Workflow, events.Workflow]{
	Kind:    "workflow",
	Initial: func() State { return State{} },
	Evolve:  Evolve,
	Decide:  Decide,
}

// State is what is kept of a definition to decide what comes next.
type State struct {
	version  int // 0: not created
	hash     string
	archived bool
}

// Version returns the newest version; 0 means there is none.
func (s State) Version() int { return s.version }

// Archived reports whether the workflow is out of use.
func (s State) Archived() bool { return s.archived }

// The sentinels.
var (
	ErrNotFound = &domain.Error{Kind: domain.NotFound, Code: "workflow.not_found", Message: "there is no such workflow"}

	ErrAlreadyCreated = &domain.Error{
		Kind: domain.Conflict, Code: "workflow.already_created",
		Message: "the workflow exists already", Fix: "revise it, or create one with a fresh id",
	}

	ErrArchived = &domain.Error{
		Kind: domain.Conflict, Code: "workflow.archived",
		Message: "the workflow is archived", Fix: "create a new one from its definition",
	}
)

// Check reports the first mistake in a definition. It is what a definition must
// pass to be kept or run.
func Check(d domain.Definition) error {
	if err := d.Validate(); err != nil {
		return err
	}
	return expr.Check(d)
}

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.Workflow, _ time.Time) ([]events.Workflow, error) {
	switch c := c.(type) {
	case commands.CreateWorkflow:
		return createWorkflow(s, c)
	case commands.ReviseWorkflow:
		return reviseWorkflow(s, c)
	case commands.ArchiveWorkflow:
		return archiveWorkflow(s)
	}
	return nil, nil
}

func createWorkflow(s State, c commands.CreateWorkflow) ([]events.Workflow, error) {
	if s.version > 0 {
		return nil, ErrAlreadyCreated
	}
	if err := Check(c.Definition); err != nil {
		return nil, err
	}
	d := numbered(c.Definition, 1)
	return []events.Workflow{events.WorkflowCreated{Definition: d, Hash: d.Hash(), CopiedFrom: c.CopiedFrom}}, nil
}

func reviseWorkflow(s State, c commands.ReviseWorkflow) ([]events.Workflow, error) {
	switch {
	case s.version == 0:
		return nil, ErrNotFound
	case s.archived:
		return nil, ErrArchived
	}
	if err := Check(c.Definition); err != nil {
		return nil, err
	}
	if numbered(c.Definition, s.version).Hash() == s.hash { // rule 3
		return nil, nil
	}
	d := numbered(c.Definition, s.version+1)
	return []events.Workflow{events.WorkflowRevised{Definition: d, Hash: d.Hash()}}, nil
}

func archiveWorkflow(s State) ([]events.Workflow, error) {
	switch {
	case s.version == 0:
		return nil, ErrNotFound
	case s.archived:
		return nil, nil
	}
	return []events.Workflow{events.WorkflowArchived{}}, nil
}

// numbered is the definition as this version keeps it.
func numbered(d domain.Definition, version int) domain.Definition {
	d = d.Stored()
	d.Version = version
	return d
}

// Evolve folds one event into the state.
func Evolve(s State, e events.Workflow) State {
	switch e := e.(type) {
	case events.WorkflowCreated:
		s.version, s.hash = 1, e.Hash
	case events.WorkflowRevised:
		s.version, s.hash = s.version+1, e.Hash
	case events.WorkflowArchived:
		s.archived = true
	}
	return s
}
