package liblint

import (
	"regexp"
	"strings"

	"github.com/hishamos/hishamos/library"
)

// banned are phrases that fill prompts and say nothing.
var banned = regexp.MustCompile(`(?i)\b(take a step back|step back and|world[- ]class|expert in|IQ of|delve|as an AI|best practices|cutting[- ]edge|seamless(ly)?|leverage|state[- ]of[- ]the[- ]art|think step by step|deep dive)\b`)

var (
	sentenceEnd = regexp.MustCompile(`[.!?:;]["')\]]?(\s+|$)`)
	action      = regexp.MustCompile(`{{.*?}}`)
	slug        = regexp.MustCompile(`^[a-z]+\.[a-z]+(-[a-z]+)+$`)
)

func (c *checker) checkTemplateProse(t *library.Template) {
	if !slug.MatchString(t.ID) || !strings.HasPrefix(t.ID, t.Category+".") {
		c.add("prose/id", "an id is category.verb-object")
	}
	if n := len([]rune(t.Title)); n > 60 || n == 0 {
		c.add("prose/title", "the title has %d characters, not 1 to 60", n)
	}
	if n := len([]rune(t.Summary)); n > 140 || n == 0 {
		c.add("prose/summary", "the summary has %d characters, not 1 to 140", n)
	}
	task := action.ReplaceAllString(t.Prompt.Task, "")
	if n := words(task); n < 120 || n > 600 {
		c.add("prose/task-length", "the task has %d words, not 120 to 600", n)
	}
	c.readable("task", task, 22)
	c.readable("method", strings.Join(t.Prompt.Method, "\n\n"), 22)
	c.readable("system", t.Prompt.System, 22)
	c.readable("description", t.Description, 22)
	if len(t.Prompt.Method) < 3 {
		c.add("prose/method", "the method has fewer than three steps")
	}
	if n := len(t.Rubric); n < 3 || n > 6 {
		c.add("prose/rubric", "the rubric has %d questions, not 3 to 6", n)
	}
	if len(t.Intents) != 3 {
		c.add("prose/intents", "there are %d intents, not 3", len(t.Intents))
	}
	if len(t.Tags) > 6 || len(t.Sources) == 0 || t.Prompt.WhenInsufficient == "" {
		c.add("prose/complete", "tags (at most 6), sources and when_insufficient are needed")
	}
}

func (c *checker) checkAgentProse(a *library.Agent) {
	total := 0
	for _, part := range a.Prompt.Parts() {
		if words(part[1]) < 25 {
			c.add("prose/parts", "%s has fewer than 25 words", part[0])
		}
		total += words(part[1])
		c.readable(part[0], part[1], 22)
	}
	if total < 400 || total > 1200 {
		c.add("prose/prompt-length", "the prompt has %d words, not 400 to 1200", total)
	}
}

// readable: mean sentence at most so many words, none above 40, no filler.
func (c *checker) readable(name, text string, mean int) {
	if found := banned.FindString(text); found != "" {
		c.add("prose/banned", "%s says %q", name, found)
	}
	total, n := 0, 0
	for _, paragraph := range strings.Split(text, "\n\n") {
		for _, s := range sentenceEnd.Split(strings.Join(strings.Fields(paragraph), " "), -1) {
			w := words(s)
			if w == 0 {
				continue
			}
			if w > 40 {
				c.add("prose/sentence", "%s has a sentence of %d words: %.60s…", name, w, s)
			}
			total, n = total+w, n+1
		}
	}
	if n > 0 && total > mean*n {
		c.add("prose/mean", "%s has %d words a sentence, more than %d", name, total/n, mean)
	}
}
