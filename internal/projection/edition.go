package projection

import "sync/atomic"

// edition counts what this process did to the rows of a projection.
type edition struct {
	n          atomic.Uint64
	partitions atomic.Int64 // that there are; 0: not known
}

// turn is called before and after everything that may change rows, or who changes
// them.
func (f *Feed) turn() { f.runner.editions[f.def.Name].n.Add(1) }

// Edition returns a number that stays as it is as long as the rows of a
// projection do: what was read in an edition holds until the next. Only who
// follows every partition can tell; alone says that this process does.
func (r *Runner) Edition(projection string) (n uint64, alone bool) {
	e := r.editions[projection]
	if e == nil {
		return 0, false
	}
	n = e.n.Load()
	all := e.partitions.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.feeds {
		if k.projection == projection {
			all--
		}
	}
	return n, all == 0 && e.partitions.Load() > 0
}
