package checker

import (
	"strconv"
	"strings"
)

// appends checks that every command id led to one whole append: rule I8 of the
// side of the store.
func (st *story) appends() {
	at := map[string]uint64{} // the first position of a command
	for i := 0; i < len(st.events); {
		e := &st.events[i]
		id := e.Tenant + " " + e.Command
		if first, twice := at[id]; twice {
			st.report.violated(Repeated, "command %s was carried out at %d and again at %d", id, first, e.Position)
		}
		at[id] = e.Position
		last := e.Position
		for k := range e.Count {
			if i+k >= len(st.events) || st.events[i+k].Command != e.Command || st.events[i+k].Index != k || st.events[i+k].Count != e.Count {
				st.report.violated(Repeated, "the append of command %s at %d is torn at index %d of %d", id, e.Position, k, e.Count)
				break
			}
			last = st.events[i+k].Position
		}
		if r, ok := st.commands[id]; !ok || r.First != e.Position || r.Last != last {
			st.report.violated(Repeated, "command %s is at %d to %d, its receipt says %d to %d (there is one: %v)", id, e.Position, last, r.First, r.Last, ok)
		}
		i += max(1, e.Count)
	}
	for id, r := range st.commands {
		if at[id] != r.First {
			st.report.violated(Acknowledged, "the receipt of command %s names position %d, which is not its own", id, r.First)
		}
	}
}

// acknowledged is rule I1, and I8 of the side of the clients.
func (st *story) acknowledged() {
	st.report.Commands = len(st.sources.Commands)
	for _, c := range st.sources.Commands {
		for _, other := range c.Repeats {
			st.report.violated(Repeated, "key %s was answered %d %+v and then %s", c.Key, c.Status, c.Answer, other)
		}
		r, ok := st.commands["default key:"+c.Key]
		switch {
		case c.Acked && !ok:
			st.report.violated(Acknowledged, "key %s was acknowledged at position %s and is not there", c.Key, c.Answer.Position)
		case c.Acked:
			st.report.Acked++
			if c.Answer.Position != strconv.FormatUint(r.Last, 10) {
				st.report.violated(Acknowledged, "key %s was acknowledged at position %s and is at %d", c.Key, c.Answer.Position, r.Last)
			}
			_, entity, _ := strings.Cut(r.Streams, "/")
			if strings.HasPrefix(entity, "run_") && !strings.HasPrefix(entity, c.Answer.ID+"/") {
				st.report.violated(Acknowledged, "key %s was acknowledged for %s and is in %s", c.Key, c.Answer.ID, r.Streams)
			}
		case c.Status >= 400 && c.Status < 500 && ok:
			st.report.violated(Acknowledged, "key %s was refused with %d and is there at %d", c.Key, c.Status, r.First)
		}
	}
}
