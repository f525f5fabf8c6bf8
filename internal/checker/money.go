package checker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// call is a line of the provider's ledger.
type call struct {
	Attempt string `json:"attempt"` // <stream>/<path>/<attempt>/<call>
	Tokens  int64  `json:"tokens"`
	Error   string `json:"error"`
	Worker  int    `json:"worker"`
}

// attemptData are the fields of events that name an attempt.
type attemptData struct {
	Path    string `json:"path"`
	Attempt int    `json:"attempt"`
	Call    int    `json:"call"`
	Usage   struct {
		Tokens struct {
			Input       int64 `json:"input"`
			CachedInput int64 `json:"cached_input"`
			CacheWrite  int64 `json:"cache_write"`
			Output      int64 `json:"output"`
			Reasoning   int64 `json:"reasoning"`
		} `json:"tokens"`
	} `json:"usage"`
	Effect string `json:"effect"`
}

func (d attemptData) of(stream string) string {
	return fmt.Sprintf("%s/%s/%d", stream, d.Path, d.Attempt)
}

// money is rule I6: what the provider charged and what the runs say they spent
// are the same, call by call. A call may be missing in the runs only when its
// worker was lost before it could tell: then its attempt lapsed, timed out, or
// ended with the run.
func (st *story) money() error {
	ledger, err := readLedger(st.sources.Ledger)
	if err != nil {
		return err
	}
	st.report.Calls = len(ledger)
	spent, gone, once := st.spending()
	charged := map[string]call{}
	steps := map[string]string{} // steps of class at_most_once that were called
	for _, c := range ledger {
		if first, twice := charged[c.Attempt]; twice {
			st.report.violated(Accounted, "%s was called twice, by processes %d and %d", c.Attempt, first.Worker, c.Worker)
			continue
		}
		charged[c.Attempt] = c
		attempt, number, _ := cutLast(c.Attempt)
		step, _, _ := cutLast(attempt)
		if number == "1" && once[step] {
			if other, twice := steps[step]; twice {
				st.report.violated(Accounted, "%s may be done at most once and was done by %s and %s", step, other, attempt)
			}
			steps[step] = attempt
		}
		recorded, ok := spent[c.Attempt]
		switch {
		case ok && recorded != c.Tokens:
			st.report.violated(Accounted, "%s cost %d tokens and is recorded with %d", c.Attempt, c.Tokens, recorded)
		case !ok && c.Tokens > 0 && !gone[attempt]:
			st.report.violated(Accounted, "%s cost %d tokens, which no event says, though the attempt did not lapse", c.Attempt, c.Tokens)
		case !ok && c.Tokens > 0:
			st.report.Unrecorded++
		}
	}
	for id := range spent {
		if _, ok := charged[id]; !ok {
			st.report.violated(Accounted, "%s is recorded and the provider knows nothing of it", id)
		}
	}
	return nil
}

// spending reads from the events what every call is recorded with, which
// attempts ended without a result of theirs, and which steps may be done at most
// once.
func (st *story) spending() (spent map[string]int64, gone, once map[string]bool) {
	spent, gone, once = map[string]int64{}, map[string]bool{}, map[string]bool{}
	for stream, events := range st.byStream {
		open := map[string]bool{} // attempts that nothing ended
		for _, e := range events {
			if !strings.HasPrefix(e.Type, "run.") {
				continue
			}
			var d attemptData
			if err := json.Unmarshal(e.Data, &d); err != nil {
				st.report.violated(Accounted, "position %d cannot be read: %v", e.Position, err)
				continue
			}
			id := d.of(stream)
			switch e.Type {
			case "run.tokens_spent":
				id += fmt.Sprintf("/%d", d.Call)
				if _, twice := spent[id]; twice {
					st.report.violated(Accounted, "%s is recorded twice", id)
				}
				t := d.Usage.Tokens
				spent[id] = t.Input + t.CachedInput + t.CacheWrite + t.Output + t.Reasoning
			case "run.step_scheduled":
				open[id] = true
				once[stream+"/"+d.Path] = d.Effect == "at_most_once"
			case "run.step_lapsed":
				gone[id] = true
				st.report.Lapsed++
				delete(open, id)
			case "run.step_failed":
				gone[id] = gone[id] || lostItsWorker(e.Data)
				delete(open, id)
			case "run.step_completed":
				delete(open, id)
			}
		}
		for id := range open { // the run ended first
			gone[id] = true
		}
	}
	return spent, gone, once
}

// lostItsWorker reports whether an attempt failed without a word of its worker.
func lostItsWorker(data []byte) bool {
	var d struct {
		Fault struct {
			Code string `json:"code"`
		} `json:"fault"`
	}
	if json.Unmarshal(data, &d) != nil {
		return false
	}
	return d.Fault.Code == "step.timeout"
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// readLedger reads the provider's lines. A last line without an end was cut off
// by the death of its writer.
func readLedger(path string) ([]call, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var out []call
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	return out, lines.Err()
}
