package sqlstore

import (
	"encoding/json"

	"github.com/switchyard-wa/switchyard/domain"
)

// storedRelations is the stored form of [domain.Relations]. Released stores hold it: a member is added, never renamed.
type storedRelations struct {
	Author   string   `json:"author,omitempty"`
	QuotedID string   `json:"quotedId,omitempty"`
	TargetID string   `json:"targetId,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
}

// relationsText returns the relations of a message as they are stored: as JSON, or "" if there are none.
func relationsText(r *domain.Relations) string {
	if r.IsZero() {
		return ""
	}
	text, _ := json.Marshal(storedRelations(*r)) // texts are always JSON
	return string(text)
}

// relationsOf is the inverse of relationsText.
func relationsOf(text string) domain.Relations {
	var r storedRelations
	if text != "" {
		_ = json.Unmarshal([]byte(text), &r) // written by relationsText
	}
	return domain.Relations(r)
}
