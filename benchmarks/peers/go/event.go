package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// event holds the members of every source and stage: what reads JSON decodes into one type, and which members must be
// there is checked by hand afterwards. A pointer is nil where the member is missing.
type event struct {
	EventID     *string `json:"eventId"`
	Timestamp   *string `json:"timestamp"`
	Source      string  `json:"source"`
	FunnelStage string  `json:"funnelStage"`
	EventType   string  `json:"eventType"`
	Data        struct {
		User       *user       `json:"user"`
		Engagement *engagement `json:"engagement"`
	} `json:"data"`
}

type user struct {
	UserID   *string `json:"userId"`
	Name     *string `json:"name"`
	Age      *int    `json:"age"`
	Gender   string  `json:"gender"`
	Location *struct {
		Country *string `json:"country"`
		City    *string `json:"city"`
	} `json:"location"`
	Username  *string `json:"username"`
	Followers *int64  `json:"followers"`
}

type engagement struct {
	ActionTime        *string         `json:"actionTime"`
	Referrer          string          `json:"referrer"`
	VideoID           json.RawMessage `json:"videoId"`
	AdID              *string         `json:"adId"`
	CampaignID        *string         `json:"campaignId"`
	ClickPosition     string          `json:"clickPosition"`
	Device            string          `json:"device"`
	Browser           string          `json:"browser"`
	PurchaseAmount    json.RawMessage `json:"purchaseAmount"`
	WatchTime         *float64        `json:"watchTime"`
	PercentageWatched *float64        `json:"percentageWatched"`
	Country           *string         `json:"country"`
	ProfileID         json.RawMessage `json:"profileId"`
	PurchasedItem     json.RawMessage `json:"purchasedItem"`
}

var (
	amount     = regexp.MustCompile(`^\d{1,15}(\.\d{1,6})?$`)
	eventTypes = map[string][]string{
		"facebook top":    {"ad.view", "page.like", "comment", "video.view"},
		"facebook bottom": {"ad.click", "form.submission", "checkout.complete"},
		"tiktok top":      {"video.view", "like", "share", "comment"},
		"tiktok bottom":   {"profile.visit", "purchase", "follow"},
	}
	genders   = []string{"male", "female", "non-binary"}
	referrers = []string{"newsfeed", "marketplace", "groups"}
	positions = []string{"top_left", "bottom_right", "center"}
	devices   = []string{"mobile", "desktop"}
	browsers  = []string{"Chrome", "Firefox", "Safari"}
	systems   = []string{"Android", "iOS", "Desktop"}
)

// validate says of which source an event is, or why it is refused.
func validate(raw json.RawMessage) (string, error) {
	var e event
	if err := unmarshal(raw, &e); err != nil {
		return "", err
	}
	kind := e.Source + " " + e.FunnelStage
	switch {
	case e.EventID == nil || len(*e.EventID) < 1 || len(*e.EventID) > 128:
		return "", errors.New("eventId")
	case !isInstant(e.Timestamp):
		return "", errors.New("timestamp")
	case !slices.Contains(eventTypes[kind], e.EventType):
		return "", errors.New("source, funnelStage or eventType")
	case e.Data.User == nil || e.Data.Engagement == nil:
		return "", errors.New("data")
	}
	return e.Source, check(kind, e.Data.User, e.Data.Engagement)
}

func check(kind string, u *user, g *engagement) error {
	if u.UserID == nil || len(*u.UserID) < 1 || len(*u.UserID) > 256 {
		return errors.New("userId")
	}
	switch kind {
	case "facebook top":
		return first(isPerson(u), isInstant(g.ActionTime), slices.Contains(referrers, g.Referrer), isKeyOrNull(g.VideoID))
	case "facebook bottom":
		return first(isPerson(u), isKey(g.AdID), isKey(g.CampaignID), slices.Contains(positions, g.ClickPosition),
			slices.Contains(devices, g.Device), slices.Contains(browsers, g.Browser), isAmountOrNull(g.PurchaseAmount))
	case "tiktok top":
		return first(isCreator(u), isAtLeastZero(g.WatchTime), isAtLeastZero(g.PercentageWatched) && *g.PercentageWatched <= 100,
			slices.Contains(systems, g.Device), isKey(g.Country), len(g.VideoID) > 0 && g.VideoID[0] == '"' && len(g.VideoID) <= 258)
	default:
		return first(isCreator(u), isInstant(g.ActionTime), isKeyOrNull(g.ProfileID), isKeyOrNull(g.PurchasedItem),
			isAmountOrNull(g.PurchaseAmount))
	}
}

// first is an error that says which of the rules was the first that did not hold.
func first(rules ...bool) error {
	if number := slices.Index(rules, false); number >= 0 {
		return fmt.Errorf("data: rule %d does not hold", number+1)
	}
	return nil
}

func isPerson(u *user) bool {
	return u.Name != nil && u.Age != nil && *u.Age >= 0 && *u.Age <= 150 && slices.Contains(genders, u.Gender) &&
		u.Location != nil && isKey(u.Location.Country) && isKey(u.Location.City)
}

func isCreator(u *user) bool {
	return u.Username != nil && u.Followers != nil && *u.Followers >= 0
}

func isKey(text *string) bool {
	return text != nil && len(*text) <= 256
}

func isAtLeastZero(number *float64) bool {
	return number != nil && *number >= 0
}

// isKeyOrNull looks at the JSON text: null and a missing member are not the same.
func isKeyOrNull(text json.RawMessage) bool {
	return string(text) == "null" || (len(text) > 0 && text[0] == '"' && len(text) <= 258)
}

func isAmountOrNull(text json.RawMessage) bool {
	return string(text) == "null" || (len(text) > 2 && text[0] == '"' && amount.Match(text[1:len(text)-1]))
}

func isInstant(text *string) bool {
	if text == nil {
		return false
	}
	_, err := time.Parse(time.RFC3339Nano, *text)
	return err == nil
}
