package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// releasedFile lists the schemas that other people rely on, in the form of
// sha256sum: `<hash>  <file>`. Lines are added, never changed.
const releasedFile = schemaFolder + "/RELEASED"

// released is file name → hash.
type released map[string]string

func readReleased(root string) (released, error) {
	content, err := os.ReadFile(filepath.Join(root, releasedFile))
	if errors.Is(err, os.ErrNotExist) {
		return released{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := released{}
	for line := range strings.Lines(string(content)) {
		hash, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not `<hash>  <file>`", releasedFile, line)
		}
		r[name] = hash
	}
	return r, nil
}

// check compares the released schemas with those on disk and those to be
// written.
func (r released) check(root string, files map[string][]byte) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r)) {
		content, ok := files[schemaFolder+"/"+name]
		if ok && hashOf(content) != r[name] {
			errs = append(errs, fmt.Errorf("%s is released and would change: give the event a new version with an upcast, or a new name", name))
			continue
		}
		onDisk, err := os.ReadFile(filepath.Join(root, schemaFolder, name))
		if err != nil {
			errs = append(errs, fmt.Errorf("a released schema must stay: %w", err))
		} else if hashOf(onDisk) != r[name] {
			errs = append(errs, fmt.Errorf("%s is released and was changed", name))
		}
	}
	return errors.Join(errs...)
}

// add freezes the schemas of this build.
func (r released) add(root string, files map[string][]byte) error {
	for name, content := range files {
		if filepath.Dir(name) == schemaFolder {
			r[filepath.Base(name)] = hashOf(content)
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%s  %s\n", r[name], name)
	}
	return os.WriteFile(filepath.Join(root, releasedFile), []byte(b.String()), 0o644)
}

func hashOf(content []byte) string {
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:])
}
