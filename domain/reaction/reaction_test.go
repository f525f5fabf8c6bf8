package reaction_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/reaction"
	"github.com/hishamos/hishamos/events"
)

func deploy(from domain.Position) commands.DeployReaction {
	return commands.DeployReaction{Name: "advance_run", From: from}
}

func TestAReactionIsDeployedOnce(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, reaction.Decider)
	s.When(deploy(7)).Then(events.ReactionDeployed{Name: "advance_run", From: 7})
	s = s.After(deploy(7))
	s.When(deploy(7)).ThenNothing()
	s.When(deploy(9)).ThenNothing()
	if from, ok := s.State().From(); !ok || from != 7 {
		t.Errorf("begins at %d, %v", from, ok)
	}
}

func TestReactionKeepsTheLawsOfDeciders(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[reaction.State, commands.Reaction, events.Reaction]{
		Decider: reaction.Decider,
		Next: func(t *rapid.T, _ reaction.State) commands.Reaction {
			return deploy(domain.Position(rapid.Uint64().Draw(t, "from")))
		},
		Control: func(s reaction.State) any { from, _ := s.From(); return from },
		Ended:   func(s reaction.State) bool { _, deployed := s.From(); return deployed },
	})
}
