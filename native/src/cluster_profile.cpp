// Compiling a profile against a Cluster. The row's format is written in engine/profile_row.py.

#include <algorithm>

#include "volsched/cluster.hpp"
#include "volsched/error.hpp"
#include "volsched/plugin.hpp"
#include "volsched/profile.hpp"
#include "volsched/row_reader.hpp"

namespace volsched {

namespace {

std::vector<ProfileStep> read_steps(RowReader& reader) {
  std::vector<ProfileStep> steps(reader.count());
  for (ProfileStep& step : steps) {
    step.name = std::string(reader.text());
    step.plugin = find_plugin(step.name);
    step.failure = std::string(reader.text());
    step.weight = static_cast<std::int32_t>(reader.i64());
    step.is_prepared = reader.flag();
  }
  return steps;
}

std::vector<ShapePoint> read_shape(RowReader& reader) {
  std::vector<ShapePoint> shape(reader.count());
  for (ShapePoint& point : shape) {
    point.utilization = reader.i64();
    point.score = reader.i64();
  }
  if (shape.empty()) throw Error("a scoring shape needs at least one point");
  return shape;
}

std::vector<std::string> read_texts(RowReader& reader) {
  std::vector<std::string> texts(reader.count());
  for (std::string& text : texts) text = std::string(reader.text());
  return texts;
}

}  // namespace

ProfilePtr Cluster::profile(std::string_view bytes) {
  RowReader reader("profile", bytes);
  auto made = std::make_shared<Profile>();
  made->serial = next_profile_++;
  made->pre_filters = read_steps(reader);
  made->filters = read_steps(reader);
  made->pre_scores = read_steps(reader);
  made->scores = read_steps(reader);
  const auto read_resources = [&] {
    std::vector<CountedResource> counted(reader.count());
    for (CountedResource& resource : counted) {
      const std::uint8_t kind = reader.u8();
      if (kind > 3) throw Error("a profile counts a resource of kind " + std::to_string(kind));
      resource.kind = static_cast<CountedResource::Kind>(kind);
      resource.name = strings.intern(reader.text());
      resource.weight = reader.i64();
    }
    return counted;
  };
  made->is_default_fit = reader.flag();
  made->fit_strategy = static_cast<FitStrategy>(std::min<std::uint8_t>(reader.u8(), 2));
  made->fit_resources = read_resources();
  made->fit_shape = read_shape(reader);
  made->ignored_resources = read_texts(reader);
  made->ignored_groups = read_texts(reader);
  made->is_default_balance = reader.flag();
  made->balanced = read_resources();
  made->is_default_volume_shape = reader.flag();
  made->volume_shape = read_shape(reader);
  made->plans_volumes = reader.flag();
  made->has_added_affinity = reader.flag();
  if (made->has_added_affinity) {
    made->added_affinity =
        selectors.intern(read_node_selector(reader, strings, labels.name_key(), FieldsAre::kCompared), labels, strings);
  }
  made->added_preferred.resize(reader.count());
  for (PreferredTerm& term : made->added_preferred) {
    term.weight = static_cast<std::int32_t>(reader.i64());
    term.selector = selectors.intern(read_preferred_term(reader, strings, labels.name_key()), labels, strings);
  }
  made->added_preferred_error = std::string(reader.text());
  made->has_system_spread = reader.flag();
  made->spread_defaults = read_spread(reader);
  made->hard_affinity_weight = reader.i64();
  made->ignores_preferred_of_existing = reader.flag();
  made->percentage_of_nodes = static_cast<std::int32_t>(reader.i64());
  made->is_exact_capacity = reader.flag();
  made->capacity_steps_max = static_cast<std::uint32_t>(reader.i64());
  reader.finish();
  return made;
}

}  // namespace volsched
