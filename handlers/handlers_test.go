package handlers_test

import (
	"os"
	"testing"

	"github.com/hishamos/hishamos/handlers"
)

// What a reaction does when an event comes twice only its own test can say.
func TestEveryReactionHasATestFileOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, r := range handlers.All(handlers.Ports{}) {
		if _, err := os.Stat(r.Name + "_test.go"); err != nil {
			t.Errorf("reaction %s: write one that delivers every event twice: %v", r.Name, err)
		}
	}
}
