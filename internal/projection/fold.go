package projection

import "github.com/hishamos/hishamos/domain"

// Fold lets a row of a history table hold the version before its own, where that
// says little which the row does not say. It then takes no row of the history,
// and whoever reads as of a position makes it of the row.
type Fold[R any] struct {
	// In notes in a row what Out needs to make the version before of it, which held
	// from a position on. It reports whether it can; if not, it changes nothing.
	In func(before *R, from domain.Position, row *R) bool
	// Out makes the version that a row holds, if it holds one.
	Out func(row *R) (before R, from domain.Position, ok bool)
	// Clear takes away what In noted.
	Clear func(row *R)
}

// folding is a Fold without its type.
type folding struct {
	in    func(before any, from domain.Position, row any) bool
	out   func(row any) (before any, from domain.Position, ok bool)
	clear func(row any)
}

// Folds sets how rows of the table hold versions before their own.
func (t Table[R]) Folds(f Fold[R]) Table[R] {
	t.fold = &folding{
		in: func(before any, from domain.Position, row any) bool { return f.In(before.(*R), from, row.(*R)) },
		out: func(row any) (any, domain.Position, bool) {
			before, from, ok := f.Out(row.(*R))
			return &before, from, ok
		},
		clear: func(row any) { f.Clear(row.(*R)) },
	}
	return t
}

// Before returns the version before a row's own (a pointer, like the row), if the
// row holds it, and from where on it held.
func (t *Schema) Before(row any) (before any, from domain.Position, ok bool) {
	if t.fold == nil {
		return nil, 0, false
	}
	return t.fold.out(row)
}

// supersede adds to the past what a row leaves there when another takes its place
// at a position. Within one append a row takes the other's place as if that had
// never been.
func (t *Schema) supersede(past []Past, old any, from domain.Position, row any, at domain.Position) []Past {
	keep := func(versions ...Past) []Past {
		return append(past[:len(past):len(past)], versions...) // a cached entry keeps its own
	}
	if t.fold == nil {
		if from == at {
			return past
		}
		return keep(Past{Row: old, From: from, To: at})
	}
	before, since, folded := t.fold.out(old)
	t.fold.clear(row)
	switch {
	case from == at && (!folded || t.fold.in(before, since, row)):
		return past
	case from == at:
		return keep(Past{Row: before, From: since, To: from})
	case folded:
		return keep(Past{Row: before, From: since, To: from}, Past{Row: old, From: from, To: at})
	case t.fold.in(old, from, row):
		return past
	}
	return keep(Past{Row: old, From: from, To: at})
}
