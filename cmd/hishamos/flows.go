package main

import (
	"sync"

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

// flows keeps workflows as they were read for as long as the read model stays as
// it was, so that the start of a run need not ask for what the last one asked.
type flows struct {
	mu    sync.Mutex
	known map[flowKey]flow
}

type flowKey struct {
	tenant  domain.Tenant
	id      string
	version int // 0: the newest
}

type flow struct {
	edition uint64 // of the read model, before it was read
	v1.Workflow
}

// flowLimit bounds how many are kept.
const flowLimit = 1024

func newFlows() *flows { return &flows{known: make(map[flowKey]flow)} }

// get returns what is known in this edition of the read model, or reads it. What
// it returns is shared, and not to be changed.
func (f *flows) get(k flowKey, edition uint64, read func() (v1.Workflow, error)) (v1.Workflow, error) {
	f.mu.Lock()
	w, ok := f.known[k]
	f.mu.Unlock()
	if ok && w.edition == edition {
		return w.Workflow, nil
	}
	fresh, err := read()
	if err != nil {
		return fresh, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.known) >= flowLimit {
		clear(f.known)
	}
	f.known[k] = flow{edition, fresh}
	return fresh, nil
}
