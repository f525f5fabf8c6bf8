package workflow_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/events"
)

const stream domain.StreamID = "default/workflow_0190f4d2-0000-7000-8000-000000000001"

func definition(title string) domain.Definition {
	return domain.Definition{ID: "mine", Title: title, Steps: []domain.Step{
		{ID: "a", Kind: domain.NoopStep, With: map[string]any{"n": 1}}, {ID: "b", Kind: domain.NoopStep, Needs: []string{"a"}, When: "steps.a.output == 1"},
	}}
}

func create(d domain.Definition) commands.CreateWorkflow {
	return commands.CreateWorkflow{Workflow: stream, Definition: d}
}

func revise(d domain.Definition) commands.ReviseWorkflow {
	return commands.ReviseWorkflow{Workflow: stream, Definition: d}
}

func archive() commands.ArchiveWorkflow { return commands.ArchiveWorkflow{Workflow: stream} }

// version is the definition as the n-th version keeps it.
func version(title string, n int) domain.Definition {
	d := definition(title).Stored()
	d.Version = n
	return d
}

// Rule 1: what is kept can be run.

func TestADefinitionIsCheckedBeforeItIsKept(t *testing.T) {
	t.Parallel()
	graph, expression := definition("x"), definition("x")
	graph.Steps[0].Needs = []string{"b"}
	expression.Steps[1].When = "steps.c.output"
	s := domaintest.For(t, workflow.Decider)
	for _, d := range []domain.Definition{graph, expression} {
		s.When(create(d)).ThenError(domain.ErrInvalidDefinition)
		s.After(create(definition("x"))).When(revise(d)).ThenError(domain.ErrInvalidDefinition)
	}
}

// Rule 2: versions count from 1.

func TestVersionsCountFromOneWhateverIsAskedFor(t *testing.T) {
	t.Parallel()
	asked, origin := definition("one"), &domain.Ref{ID: "library/x", Version: 4}
	asked.Version = 17
	c := create(asked)
	c.CopiedFrom = origin
	s := domaintest.For(t, workflow.Decider)
	one, two := version("one", 1), version("two", 2)
	s.When(c).Then(events.WorkflowCreated{Definition: one, Hash: one.Hash(), CopiedFrom: origin})
	s.After(c).When(revise(definition("two"))).Then(events.WorkflowRevised{Definition: two, Hash: two.Hash()})
	if got := s.After(c, revise(definition("two"))).State().Version(); got != 2 {
		t.Errorf("version is %d", got)
	}
}

func TestAWorkflowIsCreatedOnce(t *testing.T) {
	t.Parallel()
	domaintest.For(t, workflow.Decider).After(create(definition("x"))).When(create(definition("x"))).ThenError(workflow.ErrAlreadyCreated)
}

func TestAWorkflowThatIsNotThereCannotBeChanged(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, workflow.Decider)
	s.When(revise(definition("x"))).ThenError(workflow.ErrNotFound)
	s.When(archive()).ThenError(workflow.ErrNotFound)
}

// Rule 3: a revision that changes nothing is no version.

func TestARevisionThatChangesNothingIsNoVersion(t *testing.T) {
	t.Parallel()
	same := definition("x")
	same.Version = 9
	domaintest.For(t, workflow.Decider).After(create(definition("x"))).When(revise(same)).ThenNothing()
}

// Rule 4: an archived workflow never changes again.

func TestAnArchivedWorkflowNeverChangesAgain(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, workflow.Decider).After(create(definition("x")))
	s.When(archive()).Then(events.WorkflowArchived{})
	s = s.After(archive())
	s.When(revise(definition("y"))).ThenError(workflow.ErrArchived)
	s.When(create(definition("y"))).ThenError(workflow.ErrAlreadyCreated)
	s.When(archive()).ThenNothing()
	if !s.State().Archived() {
		t.Error("it is not archived")
	}
}

func TestWorkflowKeepsTheLawsOfDeciders(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[workflow.State, commands.Workflow, events.Workflow]{
		Decider: workflow.Decider,
		Next: func(t *rapid.T, s workflow.State) commands.Workflow {
			d := definition(rapid.SampledFrom([]string{"one", "two", ""}).Draw(t, "title"))
			switch rapid.IntRange(0, 9).Draw(t, "command") {
			case 0, 1, 2:
				return create(d)
			case 3:
				return archive()
			}
			return revise(d)
		},
		Control: func(s workflow.State) any { return fmt.Sprint(s.Version(), s.Archived()) },
		Ended:   workflow.State.Archived,
	})
}
