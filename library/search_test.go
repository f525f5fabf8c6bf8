package library_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestASearchFindsATemplateByOtherFormsOfItsWords(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	tests := map[string]string{
		"ranking a requirement":          "project.rank-requirements",
		"threats to a pull request":      "review.audit-security",
		"reproducing bugs":               "testing.derive-reproduction",
		"Which STORIES should be SPLIT?": "requirements.review-stories",
	}
	for query, want := range tests {
		hits := l.Search(query, 1)
		if len(hits) != 1 || hits[0].ID != want || hits[0].Score <= 0 {
			t.Errorf("%q finds %v, not %s", query, hits, want)
		}
	}
}

func TestASearchReturnsTheBestFirstAndNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	all := l.Search("review the bug report", 100)
	for i := 1; i < len(all); i++ {
		if all[i].Score > all[i-1].Score {
			t.Errorf("%v stands behind %v", all[i], all[i-1])
		}
	}
	if diff := cmp.Diff(all[:2], l.Search("review the bug report", 2)); diff != "" {
		t.Errorf("the first two (-want +got):\n%s", diff)
	}
	for _, query := range []string{"", "the of and", "xyzzy"} {
		if hits := l.Search(query, 5); len(hits) != 0 {
			t.Errorf("%q finds %v", query, hits)
		}
	}
	if hits := l.Search("review", -1); len(hits) != 0 {
		t.Errorf("a negative limit finds %v", hits)
	}
}
