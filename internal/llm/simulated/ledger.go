package simulated

import (
	"slices"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
)

// Ledger is the provider's own record of its calls: what a checker compares
// with what the runs say they spent.
type Ledger struct {
	mu      sync.Mutex // guards entries
	entries []Entry
}

// Entry is one call.
type Entry struct {
	Attempt string
	Number  int
	Tokens  domain.Tokens
	Err     error
}

// Entries are the calls so far, in the order they ended.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

func (l *Ledger) note(call Call, resp llm.Response, err error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, Entry{Attempt: call.Attempt, Number: call.Number, Tokens: resp.Usage, Err: err})
}
