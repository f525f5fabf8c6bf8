package agentloop

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/hishamos/hishamos/internal/llm"
)

// check returns the answer as JSON, or what is wrong with it in words a model
// can act on.
func (t *task) check(resp llm.Response) (json.RawMessage, []string) {
	if resp.Finish == llm.CutOff {
		return nil, []string{"it was cut off because it is too long: write less"}
	}
	output, err := extract(resp.Text)
	if err != nil {
		return nil, []string{err.Error()}
	}
	if wrong := t.schema.Check(output); len(wrong) > 0 {
		return nil, wrong
	}
	wrong, warnings := t.template.CheckRules(t.input, output)
	t.warnings = warnings
	return output, wrong
}

var errNoJSON = errors.New("it holds no JSON value")

// extract finds the JSON value in an answer: the whole text, the first fenced
// block, or the first object or list in prose. Two values are not one answer.
func extract(text string) (json.RawMessage, error) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\uFEFF"))
	if json.Valid([]byte(text)) {
		return compact(text), nil
	}
	if _, rest, ok := strings.Cut(text, "```"); ok {
		if _, body, ok := strings.Cut(rest, "\n"); ok {
			if end := strings.LastIndex(body, "```"); end >= 0 {
				if inside := strings.TrimSpace(body[:end]); json.Valid([]byte(inside)) {
					return compact(inside), nil
				}
			}
		}
	}
	start := strings.IndexAny(text, "{[")
	if start < 0 {
		return nil, errNoJSON
	}
	var v json.RawMessage
	if err := json.NewDecoder(strings.NewReader(text[start:])).Decode(&v); err != nil {
		return nil, errors.New("its JSON is broken: " + err.Error())
	}
	return compact(string(v)), nil
}

func compact(text string) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil { // it was valid
		return json.RawMessage(text)
	}
	return b.Bytes()
}
