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
	return strconv.Quote(shortened(value, 80))
}

// options reads one section of a configuration. Whatever type Traefik's decoder has left a value in, it is judged here,
// so that a mistake is named by its key. The keys that have been read are the known ones.
type options struct {
	*mistakes
	prefix  string         // of the section's keys, such as "tls."
	written map[string]any // as in the configuration
	values  map[string]any // the same by key in lower case
	known   []string
}

// newOptions reads a section. In a file an empty list or map reaches Traefik's decoder as an empty text: so that is nothing.
func newOptions(m *mistakes, prefix string, written map[string]any) *options {
	o := &options{mistakes: m, prefix: prefix, written: written, values: map[string]any{}}
	for _, name := range sortedKeys(written) {
		lower := strings.ToLower(name)
		_, twice := o.values[lower]
		m.addIf(twice, prefix+name, "given twice, in two spellings", "leave one out")
		o.values[lower] = written[name]
		if written[name] == "" {
			o.values[lower] = nil
		}
	}
	return o
}

// sortedKeys are the keys of a map, which are texts, in an order that is the same each time.
func sortedKeys(values any) []string {
	var keys []string
	for _, key := range reflect.ValueOf(values).MapKeys() {
		keys = append(keys, key.String())
	}
	sort.Strings(keys)
	return keys
}

// must notes a mistake in the value of a key of this section, unless that is right, or empty.
func (o *options) must(right bool, key, value, remedy string) {
	o.addIf(!right && value != "", o.prefix+key, quoted(value), remedy)
}

// lookup is the value of a key, and whether the key is there.
func (o *options) lookup(key string) (value any, ok bool) {
	o.known = append(o.known, key)
	value, ok = o.values[strings.ToLower(key)]
	return value, ok
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

// on are those of keys that are on, or, where that counts, too, there and not empty.
func (o *options) on(keys []string, orOff bool) []string {
	var on []string
	for _, key := range keys {
		if o.isOn(key) || orOff && strings.TrimSpace(scalar(o.values[strings.ToLower(key)])) != "" {
			on = append(on, key)
		}
	}
	return on
}

// finish reports the keys that no option has. It comes last, when all have been read.
func (o *options) finish() {
	known := strings.Split(strings.ToLower(strings.Join(o.known, "\n")), "\n")
	for _, name := range sortedKeys(o.written) {
		if contains(known, strings.ToLower(name)) {
			continue
		}
		remedy := "README lists the options"
		if near := nearest(name, o.known); near != "" {
			remedy = "the nearest one is " + o.prefix + near
		}
		o.add(o.prefix+name, "no option", remedy)
	}
}

// nearest is the key that a misspelt one comes nearest to: of whose pairs of letters, both ends included, it has most (Dice's
// coefficient). It is empty where no key has two in five.
func nearest(name string, keys []string) string {
	name = "\n" + strings.ToLower(name) + "\n"
	best, most := "", 0.39
	for _, key := range keys {
		lower := "\n" + strings.ToLower(key) + "\n"
		shared := 0
		for i := 2; i <= len(name); i++ {
			shared += strings.Count(lower, name[i-2:i])
		}
		likeness := 2 * float64(shared) / float64(len(name)+len(lower)-2)
		if likeness > most {
			best = key
			most = likeness
		}
	}
	return best
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
	o.must(false, key, value, "must be one of "+strings.Join(choices, ", "))
	return choices[0]
}

// flag is a truth value.
func (o *options) flag(key string) bool {
	value := o.text(key, "")
	set, err := strconv.ParseBool(value)
	o.must(err == nil, key, value, "must be true or false")
	return set
}

// count is a number of things, up to maxCount; 0 is off.
func (o *options) count(key string) int {
	value := o.text(key, "")
	number, err := strconv.Atoi(value)
	o.must(err == nil && number >= 0, key, value, "must be a whole number, 0 is off")
	o.must(err != nil || number <= maxCount, key, value, "must be at most "+strconv.Itoa(maxCount))
	return number
}

// rate is a number a second, up to maxCount; 0 is off.
func (o *options) rate(key string) float64 {
	value := o.text(key, "")
	number, err := strconv.ParseFloat(value, 64)
	inRange := number >= 0 && number <= maxCount // NaN is not
	o.must(err == nil && inRange, key, value, "must be a number a second from 0 (off) to "+strconv.Itoa(maxCount)+", such as 50")
	return number
}

// sizeUnits are what a size may end with, and how many bytes each is.
var sizeUnits = map[string]uint64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// maxSize is the largest size that may be written, on all platforms. One that is larger than any frame here is as good as
// that.
const maxSize = 1 << 62

// size is a number of bytes, such as 64KiB; empty and 0 are off.
func (o *options) size(key string) int {
	value := o.text(key, "")
	digits := strings.TrimRight(value, "KMGiB")
	unit := sizeUnits[value[len(digits):]] // 0 where there is no such unit
	number, err := strconv.ParseUint(digits, 10, 64)
	tooLarge := errors.Is(err, strconv.ErrRange) || err == nil && unit > 0 && number > maxSize/unit
	o.must(!tooLarge, key, value, "must be smaller, no frame is that large, 0 is off")
	o.must(tooLarge || err == nil && unit > 0, key, value, "must be a number of bytes, or of KiB, MiB or GiB such as 64KiB, 0 is off")
	if number*unit > uint64(maxFrame) {
		return maxFrame
	}
	return int(number * unit)
}

// duration is a Go duration string, from shortest to longest; empty and 0 are off.
func (o *options) duration(key, fallback string, shortest, longest time.Duration) time.Duration {
	value := o.text(key, fallback)
	d, err := time.ParseDuration(value)
	o.must(err == nil && d >= 0, key, value, "must be a duration with a unit, such as 30s or 1m30s, or 0 for off")
	o.must(d <= 0 || d >= shortest, key, value, "must be at least "+shortest.String()+" to be kept, 0 is off")
	o.must(d <= longest, key, value, "must be at most "+longest.String()+", 0 is off")
	return d
}

// list is the items of a list, or of a text with commas between them, as labels have it. An item that is empty is left
// for the caller to judge. A list that is there and empty is a mistake: it may be a template's variable that was not set, and
// must not open what it was to close.
func (o *options) list(key, remedy string) []string {
	value, there := o.lookup(key)
	if kindOf(value) == "map" {
		o.add(o.prefix+key, "a map", "must be a list")
		return nil
	}
	if kindOf(value) != "list" {
		value = strings.Split(o.single(key, value), ",")
	}
	var items []string
	all := reflect.ValueOf(value)
	for i := 0; i < all.Len(); i++ {
		items = append(items, strings.TrimSpace(o.single(indexed(key, i), all.Index(i).Interface())))
	}
	if strings.Join(items, "") == "" {
		o.addIf(there, o.prefix+key, "empty", remedy)
		return nil
	}
	return items
}

// indexed is the key of a list's item.
func indexed(key string, i int) string {
	return key + "[" + strconv.Itoa(i) + "]"
}

// section is a section of its own under a key, empty where there is none.
func (o *options) section(key string) *options {
	return newOptions(o.mistakes, o.prefix+key+".", o.pairs(key))
}

// sections are the sections of a list under a key.
func (o *options) sections(key string) []*options {
	value, _ := o.lookup(key)
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
		name := indexed(key, i)
		if values := o.mapOf(name, items.Index(i).Interface()); values != nil {
			all = append(all, newOptions(o.mistakes, o.prefix+name+".", values))
		}
	}
	return all
}

// pairs are the names and values of a map under a key; nil where there is none.
func (o *options) pairs(key string) map[string]any {
	value, _ := o.lookup(key)
	if value == nil {
		return nil
	}
	return o.mapOf(key, value)
}

// mapOf is a map with names for keys, whatever its type is; nil, and a mistake, where it is none.
func (o *options) mapOf(key string, value any) map[string]any {
	all := reflect.ValueOf(value)
	if all.Kind() != reflect.Map {
		o.add(o.prefix+key, "a "+kindOf(value), "must be a map of names and values")
		return nil
	}
	values := map[string]any{}
	for _, name := range all.MapKeys() {
		values[fmt.Sprint(name.Interface())] = all.MapIndex(name).Interface()
	}
	return values
}
