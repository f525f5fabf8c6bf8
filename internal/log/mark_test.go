package log_test

import (
	"maps"
	"testing"

	"github.com/hishamos/hishamos/internal/log"
)

func TestTailsAreReadBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for _, tails := range []log.Tails{{}, {{Topic: "hishamos.run.events", ID: 15}: 1 << 60, {Topic: "hishamos.log.events"}: 0}} {
		text, err := tails.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back log.Tails
		if err := back.UnmarshalText(text); err != nil || !maps.Equal(back, tails) {
			t.Errorf("%s became %v, %v", text, back, err)
		}
	}
	for _, bad := range []string{"topic 1", "topic one 1", "topic 1 one"} {
		if err := new(log.Tails).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
