// Command generate writes what follows from the code: a JSON Schema for each
// event version, the AsyncAPI and OpenAPI documents, and the reference pages of
// events, commands and permissions, and the list of the library's versions. With -verify it writes nothing and fails if
// something differs; with -release it freezes the schemas of this build.
//
// It must not know how anything is stored or sent. Start at outputs.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/library"
)

func main() {
	verify := flag.Bool("verify", false, "write nothing; fail if something would change")
	release := flag.Bool("release", false, "list the schemas of this build as released: they never change again")
	flag.Parse()
	if err := run(".", *verify, *release); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run works on the module whose root is the folder.
func run(root string, verify, release bool) error {
	files, err := outputs(root)
	if err != nil {
		return err
	}
	frozen, err := readReleased(root)
	if err != nil {
		return err
	}
	if err := frozen.check(root, files); err != nil {
		return err
	}
	stale, err := leftOver(root, files, frozen)
	if err != nil {
		return err
	}
	if verify {
		return differences(root, files, stale)
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return fmt.Errorf("remove a schema of no event: %w", err)
		}
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return err
		}
	}
	if release {
		return frozen.add(root, files)
	}
	return nil
}

// outputs are all generated files: path from the root → content.
func outputs(root string) (map[string][]byte, error) {
	src, err := readSource(root)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, t := range catalogue() {
		schema, err := eventSchema(t, src)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t.Name, err)
		}
		files[schemaFile(t)] = schema
	}
	for name, write := range map[string]func(source) ([]byte, error){
		"api/asyncapi.yaml":             asyncAPI,
		"api/openapi.yaml":              openAPI,
		"docs/reference/commands.md":    commandsPage,
		"docs/reference/events.md":      eventsPage,
		"docs/reference/metrics.md":     metricsPage,
		"docs/reference/permissions.md": permissionsPage,
	} {
		if files[name], err = write(src); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if files["library/"+library.VersionsFile], err = libraryVersions(root); err != nil {
		return nil, err
	}
	all, err := problems(root)
	if err != nil {
		return nil, err
	}
	if files["api/problems.json"], err = problemsJSON(all); err != nil {
		return nil, err
	}
	files["docs/reference/problems.md"] = problemsPage(all)
	return files, nil
}

// leftOver are schema files that belong to no event and were not released.
func leftOver(root string, files map[string][]byte, frozen released) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, schemaFolder, "*.json"))
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, f := range found {
		name := schemaFolder + "/" + filepath.Base(f)
		if _, ok := files[name]; !ok && frozen[filepath.Base(f)] == "" {
			stale = append(stale, name)
		}
	}
	return stale, nil
}

// differences names the files that are not as they would be written.
func differences(root string, files map[string][]byte, stale []string) error {
	wrong := slices.Clone(stale)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		have, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.Equal(have, files[name]) {
			wrong = append(wrong, name)
		} else if err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not up to date, run `make generate`:\n  %s", strings.Join(wrong, "\n  "))
	}
	return nil
}
