package domain

import (
	"bytes"
	"encoding/json"
)

// FileReference returns the file that a value refers to, which has the form
// {"file":"file_<uuid>"} and nothing else.
func FileReference(value json.RawMessage) (id string, ok bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) || len(value) > 200 {
		return "", false
	}
	var members map[string]string
	if json.Unmarshal(value, &members) != nil || len(members) != 1 {
		return "", false
	}
	id = members["file"]
	s := NewStreamID(DefaultTenant, id)
	return id, s.Valid() && s.Kind() == "file"
}
