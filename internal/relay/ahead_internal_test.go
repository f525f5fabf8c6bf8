package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// pages is a log that grows, and remembers what was asked of it.
type pages struct {
	eventstore.Reader
	mu    sync.Mutex
	end   domain.Position
	asked []domain.Position
	fail  error
}

func (p *pages) ReadAll(_ context.Context, after domain.Position, limit int) ([]events.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, after)
	var out []events.Record
	for at := after + 1; at <= p.end && len(out) < limit; at++ {
		out = append(out, events.Record{Envelope: events.Envelope{Position: at}})
	}
	return out, p.fail
}

func (p *pages) set(end domain.Position, fail error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end, p.fail = end, fail
}

func readAll(t *testing.T, r eventstore.Reader, after domain.Position) []domain.Position {
	t.Helper()
	page, err := r.ReadAll(t.Context(), after, 2)
	if err != nil {
		t.Fatal(err)
	}
	var out []domain.Position
	for _, r := range page {
		out = append(out, r.Position)
	}
	return out
}

func TestReadingAheadGivesWhatReadingGives(t *testing.T) {
	t.Parallel()
	p := &pages{end: 5}
	r := Ahead(p)
	for after, want := range [][]domain.Position{0: {1, 2}, 2: {3, 4}} {
		if want != nil && !slices.Equal(readAll(t, r, domain.Position(after)), want) {
			t.Errorf("after %d: not %v", after, want)
		}
	}
	<-r.(*ahead).next.done // it has seen 5 alone
	p.set(6, nil)
	if got := readAll(t, r, 4); !slices.Equal(got, []domain.Position{5, 6}) {
		t.Errorf("a page that was not full hides what came since: %v", got)
	}
	if got := readAll(t, r, 1); !slices.Equal(got, []domain.Position{2, 3}) {
		t.Errorf("another page than the one read ahead: %v", got)
	}
}

func TestAPageIsReadWhileTheOneBeforeItIsWorkedOn(t *testing.T) {
	t.Parallel()
	p := &pages{end: 4}
	r := Ahead(p)
	readAll(t, r, 0)
	<-r.(*ahead).next.done
	if !slices.Equal(p.asked, []domain.Position{0, 2}) {
		t.Errorf("read after %v", p.asked)
	}
	readAll(t, r, 2)
	<-r.(*ahead).next.done
	if !slices.Equal(p.asked, []domain.Position{0, 2, 4}) {
		t.Errorf("a page that is there was read again: %v", p.asked)
	}
}

func TestWhatGoesWrongAheadIsToldWhenThePageIsAskedFor(t *testing.T) {
	t.Parallel()
	p := &pages{end: 4}
	r := Ahead(p)
	readAll(t, r, 0)
	<-r.(*ahead).next.done
	gone := errors.New("gone")
	p.set(6, gone)
	readAll(t, r, 2)
	if _, err := r.ReadAll(t.Context(), 4, 2); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	p.set(6, nil)
	if got := readAll(t, r, 4); !slices.Equal(got, []domain.Position{5, 6}) {
		t.Errorf("it does not recover: %v", got)
	}
}
