package eventstore

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"github.com/hishamos/hishamos/events"
)

// WriteLines exports records as JSON lines in the form that
// docs/reference/hash-rule.md fixes and docs/reference/check_chain.py checks:
// the present attributes by name, the data in base64, both hashes in hex.
func WriteLines(w io.Writer, records []events.Record) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range records {
		line := map[string]string{
			"data_base64": base64.StdEncoding.EncodeToString(r.Data),
			"prevhash":    r.PrevHash.String(),
			"hash":        r.Hash.String(),
		}
		for _, a := range r.Attributes() {
			if a.Present {
				line[a.Name] = a.Value
			}
		}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("write event %d: %w", r.Position, err)
		}
	}
	return nil
}
