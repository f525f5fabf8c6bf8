package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

const (
	vectorsFile = "../docs/reference/hash-vectors.json"
	checker     = "../docs/reference/check_chain.py"
)

// rewrite writes the vectors anew. The rule is fixed for ever, so this is only
// for adding vectors: the old ones must not change.
var rewrite = flag.Bool("rewrite-vectors", false, "write docs/reference/hash-vectors.json anew")

type vector struct {
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes"`
	Data       []byte            `json:"data_base64"`
	PrevHash   string            `json:"prevhash"`
	Leaf       string            `json:"leaf"`
	Hash       string            `json:"hash"`
	MerkleLeaf string            `json:"merkle_leaf"`
}

// vectorRecords are the events of the vectors: one chain from genesis.
func vectorRecords() (names []string, records []events.Record) {
	const logID = "0193f4d2-0000-7000-8000-000000000001"
	at := time.Date(2026, 11, 22, 3, 4, 5, 6000, time.UTC)
	add := func(name string, e events.Envelope, data string) {
		e.LogID, e.Position = logID, domain.Position(len(records)+1)
		if e.Generation == 0 {
			e.Generation = 1
		}
		if e.Version == 0 {
			e.Version = 1
		}
		if e.Count == 0 {
			e.Count = 1
		}
		r := events.Record{Envelope: e, Data: []byte(data)}
		var prev events.Hash
		if len(records) > 0 {
			prev = records[len(records)-1].Hash
		}
		r.Seal(prev)
		names, records = append(names, name), append(records, r)
	}
	run := domain.StreamID("default/run_0193f4d2-0000-7000-8000-000000000002")
	add("only what must be present", events.Envelope{
		Type: "run.started", Stream: run, Sequence: 1, Time: at, Recorded: at,
	}, `{}`)
	add("everything present", events.Envelope{
		Type: "run.step_completed", Version: 12, Stream: run, Sequence: 2, Time: at.Add(-time.Hour), Recorded: at.Add(time.Microsecond),
		Correlation: "0193f4d2-0000-7000-8000-000000000003", Causation: string(run) + "/1", Command: "0193f4d2-0000-8000-8000-000000000004",
		Index: 0, Count: 2, Claims: `[{"key":"a \"b\"","kind":"name"},{"key":"c","kind":"name","release":true}]`,
		Actor: `[{"id":"u1","kind":"human"},{"id":"a1","kind":"agent"}]`, DecidedBy: `{"engine":1,"price_table":"p1"}`,
		ForkedFrom: string(run) + "/1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", KeyIDs: `["k1","k2"]`,
	}, `{"output":{"text":"ok"}}`)
	add("data that is not ASCII, beyond the basic plane, with a zero byte", events.Envelope{
		Type: "run.completed", Stream: run, Sequence: 3, Time: at, Recorded: at.Add(time.Microsecond), Index: 1, Count: 2,
		Actor: `[{"id":"jürgen 𝄞","kind":"human"}]`,
	}, "{\"text\":\"naïve 𝄞 \u2028 é e\u0301\"}\x00")
	add("empty data, a whole second, a later generation, another tenant", events.Envelope{
		Generation: 2, Type: "workflow.archived", Stream: "t_0193f4d2-0000-7000-8000-000000000005/workflow_0193f4d2-0000-7000-8000-000000000006",
		Sequence: 9007199254740993, Time: at.Truncate(time.Second), Recorded: at.Add(time.Second),
	}, ``)
	return names, records
}

func vectors() []vector {
	names, records := vectorRecords()
	out := make([]vector, len(records))
	for i, r := range records {
		leaf := events.LeafHash(r.Envelope, r.Data)
		out[i] = vector{
			Name: names[i], Attributes: make(map[string]string), Data: r.Data, PrevHash: r.PrevHash.String(),
			Leaf: leaf.String(), Hash: r.Hash.String(), MerkleLeaf: events.MerkleLeaf(leaf).String(),
		}
		for _, a := range r.Attributes() {
			if a.Present {
				out[i].Attributes[a.Name] = a.Value
			}
		}
	}
	return out
}

func TestTheHashRuleIsTheOneOfThePublishedVectors(t *testing.T) {
	t.Parallel()
	if *rewrite {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(map[string]any{"rule": "hash-rule.md", "vectors": vectors()}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var published struct{ Vectors []vector }
	if err := json.Unmarshal(b, &published); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(published.Vectors, vectors()); d != "" {
		t.Fatalf("the rule differs from the published one (-published +ours):\n%s", d)
	}
}

func TestAnotherLanguageAgreesWithTheVectors(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the independent checker was not run")
	}
	out, err := exec.CommandContext(t.Context(), python, checker, "--vectors", vectorsFile).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestAnEnvelopeComesBackFromItsAttributes(t *testing.T) {
	t.Parallel()
	_, records := vectorRecords()
	for i, v := range vectors() {
		got, err := events.ParseAttributes(func(name string) (string, bool) { s, ok := v.Attributes[name]; return s, ok })
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(records[i].Envelope, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", v.Name, d)
		}
	}
}

func TestEveryAttributeIsPartOfTheHash(t *testing.T) {
	t.Parallel()
	_, records := vectorRecords()
	full := records[1]
	for name, change := range map[string]func(*events.Record){
		"log":         func(r *events.Record) { r.LogID = "x" },
		"generation":  func(r *events.Record) { r.Generation++ },
		"type":        func(r *events.Record) { r.Type += "x" },
		"version":     func(r *events.Record) { r.Version++ },
		"stream":      func(r *events.Record) { r.Stream += "x" },
		"sequence":    func(r *events.Record) { r.Sequence++ },
		"position":    func(r *events.Record) { r.Position++ },
		"time":        func(r *events.Record) { r.Time = r.Time.Add(time.Microsecond) },
		"recorded":    func(r *events.Record) { r.Recorded = r.Recorded.Add(time.Microsecond) },
		"correlation": func(r *events.Record) { r.Correlation = "" },
		"causation":   func(r *events.Record) { r.Causation = "" },
		"command":     func(r *events.Record) { r.Command = "" },
		"index":       func(r *events.Record) { r.Index++ },
		"count":       func(r *events.Record) { r.Count++ },
		"claims":      func(r *events.Record) { r.Claims = "" },
		"actor":       func(r *events.Record) { r.Actor = "" },
		"decidedby":   func(r *events.Record) { r.DecidedBy = "" },
		"forkedfrom":  func(r *events.Record) { r.ForkedFrom = "" },
		"traceparent": func(r *events.Record) { r.TraceParent = "" },
		"keyids":      func(r *events.Record) { r.KeyIDs = "" },
		"data":        func(r *events.Record) { r.Data = append([]byte(nil), r.Data[1:]...) },
	} {
		r := full
		change(&r)
		if events.LeafHash(r.Envelope, r.Data) == events.LeafHash(full.Envelope, full.Data) {
			t.Errorf("%s can be changed without notice", name)
		}
	}
}

func TestAWorkersOutputIsReadAsItCame(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]string{
		"characters that are not UTF-8": "\"a\xffb\"",
		"a name twice":                  `{"a":1,"a":2}`,
		"deep":                          strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"a large number":                "123456789012345678901234567890.5e400",
	} {
		version, data, err := events.Encode(events.StepCompleted{Path: "draft", Attempt: 1, Output: json.RawMessage(output)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := events.Decode("run.step_completed", version, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := got.(events.StepCompleted).Output; string(again) != output {
			t.Errorf("%s: came back as %q", name, again)
		}
	}
}

// The form is fixed for ever, and written by hand for speed.
func TestInstantsAreWrittenAsTheLayoutSays(t *testing.T) {
	t.Parallel()
	const layout = "2006-01-02T15:04:05.000000Z"
	same := func(at time.Time) {
		t.Helper()
		if got, want := events.FormatTime(at), at.UTC().Format(layout); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0), time.Unix(0, 999), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 2, 3, 4, 5, 6, 7000, time.UTC),
		time.Date(2024, 2, 29, 23, 0, 0, 1000, time.FixedZone("", -5*3600)),
	} {
		same(at)
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62e9, 250e9).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
		if got, want := events.FormatTime(at), at.UTC().Format(layout); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

// Not parallel: it counts what the process allocates.
func TestTheAttributesOfAnEventShareOneString(t *testing.T) {
	_, records := vectorRecords()
	if n := testing.AllocsPerRun(100, func() { _ = records[1].Attributes() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
