package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/worker"
)

// maxReferred is how large a file may be whose text goes into a prompt.
const maxReferred = 1 << 20

// codeFile is the fault of a step whose file cannot be used.
const codeFile = "step.file_unusable"

// withFiles performs steps with the text of files in the place of references to
// them. It resolves only files that the run was started with, because whoever
// started it was asked for the right to read those.
func (n *node) withFiles(perform worker.Perform) worker.Perform {
	return func(ctx context.Context, w domain.Work) commands.Run {
		if len(w.Files) == 0 {
			return perform(ctx, w)
		}
		input, fault, err := n.resolve(ctx, w)
		if err != nil {
			fault = &domain.Fault{Code: codeFile, Message: err.Error()}
		}
		if fault != nil {
			return commands.FailStep{StepResult: commands.StepResult{Run: w.Stream, Path: w.Path, Attempt: w.Attempt}, Fault: *fault}
		}
		w.Input = input
		return perform(ctx, w)
	}
}

// resolve replaces references in the values of a step's input. A fault is the
// file's and final, an error may pass.
func (n *node) resolve(ctx context.Context, w domain.Work) (json.RawMessage, *domain.Fault, error) {
	var values map[string]json.RawMessage
	if json.Unmarshal(w.Input, &values) != nil {
		return w.Input, nil, nil
	}
	for name, value := range values {
		id, ok := domain.FileReference(value)
		if !ok || !slices.Contains(w.Files, id) {
			continue
		}
		content, err := n.readText(ctx, domain.NewStreamID(w.Stream.Tenant(), id))
		switch kind := domain.KindOf(err); {
		case err == nil:
		case kind == domain.NotFound || kind == domain.Conflict || kind == domain.TooLarge || kind == domain.Invalid:
			return nil, &domain.Fault{Code: codeFile, Message: fmt.Sprintf("input %s: file %s: %v", name, id, err), Final: true}, nil
		default:
			return nil, nil, fmt.Errorf("input %s: file %s: %w", name, id, err)
		}
		values[name] = text(content)
	}
	input, err := json.Marshal(values)
	return input, nil, err
}

// readText reads a file that holds text.
func (n *node) readText(ctx context.Context, stream domain.StreamID) (string, error) {
	s, r, err := n.openFile(ctx, stream)
	if err != nil {
		return "", err
	}
	if s.Size > maxReferred {
		return "", &domain.Error{Kind: domain.TooLarge, Code: "file.too_large_for_prompt", Message: fmt.Sprintf("it has %d bytes, and a prompt takes %d", s.Size, maxReferred)}
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(content) {
		return "", &domain.Error{Kind: domain.Invalid, Code: "file.not_text", Message: "it is not text in UTF-8"}
	}
	return string(content), nil
}
