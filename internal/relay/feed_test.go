package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/relay"
)

func TestCommitsThatAreFedAreNotReadFromTheStore(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10, "run.started")
	c := &counting{Reader: s}
	marks := make(chan domain.Position, 100)
	r := newRelay(c, l, func(o *relay.Options) {
		o.Logger, o.Poll = quiet, time.Hour
		o.OnPublished = func(p domain.Position) { marks <- p }
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	reaches(t, marks, 10)
	before := c.read.Load()
	for head := domain.Position(10); head < 60; head += 5 {
		fill(t, s, 5, "run.started", "token.issued")
		fresh, err := s.ReadAll(t.Context(), head, 5)
		check(t, err)
		r.Feed(fresh)
		reaches(t, marks, head+5)
	}
	cancel()
	<-ended
	if n := c.read.Load() - before; n > 0 {
		t.Errorf("%d events were read though they were fed", n)
	}
	consume(t, s, l)
}
