package wsfw

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

// mistakes collects what is wrong with a configuration, to be reported together.
type mistakes struct {
	list []string
}

// add notes a mistake: the key, what its value is, and what would be right.
func (m *mistakes) add(key, value, remedy string) {
	m.list = append(m.list, key+" is "+value+", "+remedy)
}

// addIf is add where there is a mistake.
func (m *mistakes) addIf(wrong bool, key, value, remedy string) {
	if wrong {
		m.add(key, value, remedy)
	}
}

// addItem is add for one item of a list.
func (m *mistakes) addItem(key, item, remedy string) {
	m.list = append(m.list, key+" has "+quoted(item)+", "+remedy)
}

// err is the error of the middleware called name, on one line, or nil.
func (m *mistakes) err(name string) error {
	if len(m.list) == 0 {
		return nil
	}
	return errors.New("wsfw " + name + ": " + strings.Join(m.list, "; "))
}

// quoted is a value as messages show it: at most 80 bytes, on one line.
func quoted(value string) string {
	if len(value) > 80 {
		value = strings.ToValidUTF8(value[:80], "") + "…"
	}
	return strconv.Quote(value)
}

// options reads one section of a configuration. Whatever type Traefik's decoder has left a value in, it is judged here,
// so that a mistake is named by its key. The keys that have been read are the known ones.
type options struct {
	*mistakes
	prefix string            // of the section's keys, such as "tls."
	values map[string]any    // by key in lower case
	names  map[string]string // the keys as written, by the same
	known  []string
}

// newOptions reads a section.
func newOptions(m *mistakes, prefix string, values map[string]any) *options {
	o := &options{mistakes: m, prefix: prefix, values: map[string]any{}, names: map[string]string{}}
	for _, name := range sortedKeys(values) {
		lower := strings.ToLower(name)
		m.addIf(o.names[lower] != "", prefix+name, "given twice, in two spellings", "leave one out")
		o.values[lower] = values[name]
		o.names[lower] = name
	}
	return o
}

// sortedKeys are a map's keys in an order that is the same each time.
func sortedKeys(values map[string]any) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// reject notes a mistake in the value of a key of this section.
func (o *options) reject(key, value, remedy string) {
	o.add(o.prefix+key, quoted(value), remedy)
}

// lookup is the value of a key, and whether the key is there.
func (o *options) lookup(key string) (value any, ok bool) {
	o.known = append(o.known, key)
	value, ok = o.values[strings.ToLower(key)]
	return value, ok
}

// filled is the value of a key, nil where nothing is written: in a file an empty list or map reaches Traefik's decoder as
// an empty text.
func (o *options) filled(key string) any {
	value, _ := o.lookup(key)
	if value == "" {
		return nil
	}
	return value
}

// isOn reports whether a key is there with a value that switches something on: not empty, 0 or false.
func (o *options) isOn(key string) bool {
	value := o.values[strings.ToLower(key)]
	if value == nil {
		return false
	}
	if kind := kindOf(value); kind == "list" || kind == "map" {
		return reflect.ValueOf(value).Len() > 0
	}
	text := strings.TrimSpace(scalar(value))
	set, err := strconv.ParseBool(text)
	return text != "" && !zero.MatchString(text) && (set || err != nil)
}

// zero is nothing, of whatever unit.
var zero = regexp.MustCompile(`^(0+(\.0*)?[a-zA-Zµ]*)+$`)

// keysOn are those of keys that are on.
func (o *options) keysOn(keys []string) []string {
	return filter(keys, func(key string) bool { return o.isOn(key) })
}

// keysThere are those of keys that are there and not empty, be it to switch something off.
func (o *options) keysThere(keys []string) []string {
	return filter(keys, func(key string) bool { return scalar(o.values[strings.ToLower(key)]) != "" })
}

// filter is those of keys for which keep is true.
func filter(keys []string, keep func(key string) bool) []string {
	var kept []string
	for _, key := range keys {
		if keep(key) {
			kept = append(kept, key)
		}
	}
	return kept
}

// finish reports the keys that no option has. It comes last, when all have been read.
func (o *options) finish() {
	known := strings.Split(strings.ToLower(strings.Join(o.known, "\n")), "\n")
	for _, name := range sortedKeys(o.values) {
		if contains(known, name) {
			continue
		}
		remedy := "README lists the options"
		if near := nearest(name, o.known); near != "" {
			remedy = "the nearest one is " + o.prefix + near
		}
		o.add(o.prefix+o.names[name], "no option", remedy)
	}
}

// nearest is the key that a misspelt one in lower case comes nearest to; empty where none is near.
func nearest(name string, keys []string) string {
	best, least := "", len(name)/2+1
	for _, key := range keys {
		lower := strings.ToLower(key)
		distance := editDistance(name, lower)
		if strings.Contains(name, lower) || strings.Contains(lower, name) {
			distance /= 2 // a word is missing, or too many
		}
		if distance < least {
			best = key
			least = distance
		}
	}
	return best
}

// editDistance is how many letters have to be changed, put in or left out to make b of a (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 0; i < len(a); i++ {
		diagonal := row[0]
		row[0] = i + 1
		for j := 0; j < len(b); j++ {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			if row[j]+1 < cost {
				cost = row[j] + 1
			}
			if row[j+1]+1 < cost {
				cost = row[j+1] + 1
			}
			diagonal = row[j+1]
			row[j+1] = cost
		}
	}
	return row[len(b)]
}

// kindOf is what a message calls a value's type.
func kindOf(value any) string {
	if value == nil {
		return "empty"
	}
	switch reflect.ValueOf(value).Kind() {
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct:
		return "map"
	}
	return "text"
}

// scalar is a text, a number or a truth value as text.
func scalar(value any) string {
	if value == nil {
		return ""
	}
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// secretReference begins what Traefik's provider for Kubernetes' custom resources replaces by a secret.
const secretReference = "urn:k8s:secret:"

// single is a key's value as text; a mistake where it is a list, a map, or names a secret instead of being one.
func (o *options) single(key string, value any) string {
	if kind := kindOf(value); kind == "list" || kind == "map" {
		o.add(o.prefix+key, "a "+kind, "must be a single value")
		return ""
	}
	text := scalar(value)
	if strings.HasPrefix(strings.TrimSpace(text), secretReference) {
		o.add(o.prefix+key, "a reference to a secret that nothing has resolved", "write the value: only Traefik's kubernetesCRD provider resolves "+secretReference)
		return ""
	}
	return text
}

// text is a key's value, trimmed; fallback where the key is not there.
func (o *options) text(key, fallback string) string {
	value, ok := o.lookup(key)
	if !ok {
		return fallback
	}
	return strings.TrimSpace(o.single(key, value))
}

// oneOf is a key's value, one of choices; the first of them where it is empty or not there.
func (o *options) oneOf(key string, choices ...string) string {
	value := o.text(key, "")
	if contains(choices, value) {
		return value
	}
	if value != "" {
		o.reject(key, value, "must be one of "+strings.Join(choices, ", "))
	}
	return choices[0]
}

// flag is a truth value.
func (o *options) flag(key string) bool {
	value := o.text(key, "")
	set, err := strconv.ParseBool(value)
	if err != nil && value != "" {
		o.reject(key, value, "must be true or false")
	}
	return set
}

// count is a number of things; 0 is off.
func (o *options) count(key string) int {
	value := o.text(key, "")
	number, err := strconv.Atoi(value)
	if value != "" && (err != nil || number < 0) {
		o.reject(key, value, "must be a whole number, 0 is off")
		return 0
	}
	return number
}

// rate is a number from 0, which is off, to most.
func (o *options) rate(key string, most float64) float64 {
	value := o.text(key, "")
	number, err := strconv.ParseFloat(value, 64)
	if value != "" && (err != nil || !(number >= 0 && number <= most)) { // NaN is neither
		o.reject(key, value, "must be a number a second from 0 (off) to "+strconv.FormatFloat(most, 'f', -1, 64)+", such as 50")
		return 0
	}
	return number
}

// sizeUnits are what a size may end with, and how many bytes each is.
var sizeUnits = map[string]uint64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// maxSize is the largest size that may be written, on all platforms. One that is larger than any frame here is as good as
// that.
const maxSize = 1 << 62

// size is a number of bytes, such as 64KiB; empty and 0 are off.
func (o *options) size(key string) int {
	value := o.text(key, "")
	if value == "" {
		return 0
	}
	digits, unit := value, uint64(1)
	for suffix, bytes := range sizeUnits {
		if strings.HasSuffix(value, suffix) {
			digits = strings.TrimSuffix(value, suffix)
			unit = bytes
		}
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && number > maxSize/unit {
		o.reject(key, value, "must be smaller, no frame is that large, 0 is off")
		return 0
	}
	if err != nil {
		o.reject(key, value, "must be a number of bytes, or of KiB, MiB or GiB such as 64KiB, 0 is off")
		return 0
	}
	if number*unit > uint64(maxFrame) {
		return maxFrame
	}
	return int(number * unit)
}

// duration is a Go duration string, from shortest to longest; empty and 0 are off.
func (o *options) duration(key, fallback string, shortest, longest time.Duration) time.Duration {
	value := o.text(key, fallback)
	if value == "" || value == "0" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		o.reject(key, value, "must be a duration with a unit, such as 30s or 1m30s, or 0 for off")
		return 0
	}
	if d > 0 && d < shortest {
		o.reject(key, value, "must be at least "+shortest.String()+" to be kept, 0 is off")
	}
	if d > longest {
		o.reject(key, value, "must be at most "+longest.String()+", 0 is off")
	}
	return d
}

// list is the items of a list, or of a text with commas between them, as labels have it. An item that is empty is left
// for the caller to judge. It is not ok where the key is not there, or no list.
func (o *options) list(key string) ([]string, bool) {
	var items []string
	value, there := o.lookup(key)
	if !there {
		return nil, false
	}
	kind := kindOf(value)
	if kind == "map" {
		o.add(o.prefix+key, "a map", "must be a list")
		return nil, false
	}
	if kind != "list" {
		value = splitList(o.single(key, value))
	}
	all := reflect.ValueOf(value)
	for i := 0; i < all.Len(); i++ {
		items = append(items, strings.TrimSpace(o.single(indexed(key, i), all.Index(i).Interface())))
	}
	return items, true
}

// indexed is the key of a list's item.
func indexed(key string, i int) string {
	return key + "[" + strconv.Itoa(i) + "]"
}

// splitList is a text with commas as a list; of an empty one nothing.
func splitList(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// section is a section of its own under a key; nil where there is none.
func (o *options) section(key string) *options {
	value := o.filled(key)
	if value == nil {
		return nil
	}
	return o.within(key, value)
}

// sections are the sections of a list under a key.
func (o *options) sections(key string) []*options {
	value := o.filled(key)
	if value == nil {
		return nil
	}
	if kindOf(value) != "list" {
		o.add(o.prefix+key, "a "+kindOf(value), "must be a list")
		return nil
	}
	var all []*options
	items := reflect.ValueOf(value)
	for i := 0; i < items.Len(); i++ {
		section := o.within(indexed(key, i), items.Index(i).Interface())
		if section != nil {
			all = append(all, section)
		}
	}
	return all
}

// within reads a value as the section called name; nil, and a mistake, where it is none.
func (o *options) within(name string, value any) *options {
	values := o.mapOf(name, value, "must be a map of options")
	if values == nil {
		return nil
	}
	return newOptions(o.mistakes, o.prefix+name+".", values)
}

// pairs are the names and values of a map under a key.
func (o *options) pairs(key string) map[string]any {
	value := o.filled(key)
	if value == nil {
		return nil
	}
	return o.mapOf(key, value, "must be a map of names and values")
}

// mapOf is a map with names for keys, whatever its type is; nil, and a mistake, where it is none.
func (o *options) mapOf(key string, value any, remedy string) map[string]any {
	all := reflect.ValueOf(value)
	if all.Kind() != reflect.Map {
		o.add(o.prefix+key, "a "+kindOf(value), remedy)
		return nil
	}
	values := map[string]any{}
	for _, name := range all.MapKeys() {
		values[fmt.Sprint(name.Interface())] = all.MapIndex(name).Interface()
	}
	return values
}
