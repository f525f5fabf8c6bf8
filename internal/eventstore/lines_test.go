package eventstore_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
)

func TestAnotherLanguageChecksExportedEvents(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the independent checker was not run")
	}
	check := func(lines []string) (string, error) {
		cmd := exec.CommandContext(t.Context(), python, "../../docs/reference/check_chain.py")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}

	s := memory.New(memory.Options{})
	stream := storetest.Stream("run")
	for i := range 6 {
		a := storetest.To(stream, eventstore.Any, 1+i%2)
		a.Claims = []eventstore.Claim{{Kind: "name", Key: fmt.Sprintf("<%d> \u2028é", i)}}
		if _, err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	records := storetest.CheckLog(t, s)
	var buf bytes.Buffer
	if err := eventstore.WriteLines(&buf, records); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(buf.String()), "\n")

	last := records[len(records)-1]
	if out, err := check(lines); err != nil || out != fmt.Sprintf("%d %s", last.Position, last.Hash) {
		t.Fatalf("the export does not hold: %v\n%s", err, out)
	}
	if out, err := check(lines[3:]); err != nil {
		t.Fatalf("a part of the export does not hold: %v\n%s", err, out)
	}
	swap := func(i int, old, with string) func([]string) {
		return func(l []string) { l[i] = strings.Replace(l[i], old, with, 1) }
	}
	for name, c := range map[string]struct {
		change   func([]string)
		position string
	}{
		"data":      {swap(3, `"data_base64":"e`, `"data_base64":"f`), "position 4:"},
		"attribute": {swap(5, `system`, `human`), "position 6:"},
		"claims":    {swap(0, `<0>`, `<1>`), "position 1:"},
		"order":     {func(l []string) { l[1], l[2] = l[2], l[1] }, "position 3:"},
		"dropped":   {func(l []string) { copy(l[2:], l[3:]) }, "position 4:"},
		"emptied":   {swap(2, `"actor":"`, `"traceparent":"","actor":"`), "position 3:"},
	} {
		tampered := append([]string(nil), lines...)
		c.change(tampered)
		if out, err := check(tampered); err == nil || !strings.HasPrefix(out, c.position) {
			t.Errorf("%s: got %q, %v, want %s", name, out, err, c.position)
		}
	}
}
