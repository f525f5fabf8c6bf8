package checker

import "strings"

// ends are the events that end a run, with the state the API gives it.
var ends = map[string]string{"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}

// runs is rule I7: a run ends once, nothing but money follows, and the API says
// so too.
func (st *story) runs() {
	for stream, events := range st.byStream {
		_, id, _ := strings.Cut(stream, "/")
		if !strings.HasPrefix(id, "run_") {
			continue
		}
		if events[0].Type != "run.started" {
			st.report.violated(Ended, "%s begins with %s", stream, events[0].Type)
		}
		state := ""
		for _, e := range events {
			end, isEnd := ends[e.Type]
			switch {
			case isEnd && state != "":
				st.report.violated(Ended, "%s ended twice: %s, then %s", stream, state, end)
			case state != "" && e.Type != "run.tokens_spent":
				st.report.violated(Ended, "%s goes on after its end: %s", stream, e.Type)
			}
			if isEnd {
				state = end
			}
		}
		if state == "" {
			st.report.violated(Ended, "%s has not ended; its last event is %s at %d", stream, events[len(events)-1].Type, events[len(events)-1].Position)
			state = "running"
		}
		st.report.Runs[state]++
		if st.sources.States == nil {
			continue
		}
		if said, ok := st.sources.States[id]; !ok || said != state {
			st.report.violated(Ended, "%s is %s, the API says %q", stream, state, said)
		}
	}
	for id := range st.sources.States {
		if st.byStream["default/"+id] == nil {
			st.report.violated(Ended, "the API lists %s, which has no events", id)
		}
	}
}
