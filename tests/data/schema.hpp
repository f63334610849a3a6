#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

namespace qwenplan::test {

/// Where a document breaks its schema, as "/gpus/0/memory: reason". Knows the keywords that the
/// schemas of data/ use; another keyword is a violation of its own, so that none is ignored.
inline void check_schema(const nlohmann::json& schema, const nlohmann::json& value,
                         const std::string& path, std::vector<std::string>& wrong) {
  const auto is_type = [&](const std::string& type) {
    return type == "object"    ? value.is_object()
           : type == "array"   ? value.is_array()
           : type == "string"  ? value.is_string()
           : type == "boolean" ? value.is_boolean()
           : type == "integer" ? value.is_number_integer()
           : type == "number"  ? value.is_number()
           : type == "null"    ? value.is_null()
                               : false;
  };
  for (const auto& [keyword, rule] : schema.items()) {
    bool is_met = true;
    if (keyword == "type") {
      is_met = rule.is_string()
                   ? is_type(rule.get<std::string>())
                   : std::any_of(rule.begin(), rule.end(), [&](const nlohmann::json& type) {
                       return is_type(type.get<std::string>());
                     });
    } else if (keyword == "const") {
      is_met = value == rule;
    } else if (keyword == "enum") {
      is_met = std::find(rule.begin(), rule.end(), value) != rule.end();
    } else if (keyword == "pattern") {
      is_met = !value.is_string() ||
               std::regex_search(value.get<std::string>(), std::regex(rule.get<std::string>()));
    } else if (keyword == "minimum") {
      is_met = !value.is_number() || value.get<double>() >= rule.get<double>();
    } else if (keyword == "maximum") {
      is_met = !value.is_number() || value.get<double>() <= rule.get<double>();
    } else if (keyword == "exclusiveMinimum") {
      is_met = !value.is_number() || value.get<double>() > rule.get<double>();
    } else if (keyword == "minItems") {
      is_met = !value.is_array() || value.size() >= rule.get<std::size_t>();
    } else if (keyword == "maxItems") {
      is_met = !value.is_array() || value.size() <= rule.get<std::size_t>();
    } else if (keyword == "required") {
      for (const auto& name : rule)
        if (value.is_object() && !value.contains(name.get<std::string>()))
          wrong.push_back(path + ": lacks " + name.get<std::string>());
    } else if (keyword == "properties") {
      for (const auto& [name, inner] : rule.items())
        if (value.is_object() && value.contains(name))
          check_schema(inner, value[name], path + "/" + name, wrong);
    } else if (keyword == "additionalProperties") {
      if (value.is_object() && rule == false)
        for (const auto& item : value.items())
          if (!schema["properties"].contains(item.key()))
            wrong.push_back(path + ": has unknown " + item.key());
    } else if (keyword == "items") {
      if (value.is_array())
        for (std::size_t i = 0; i < value.size(); ++i)
          check_schema(rule, value[i], path + "/" + std::to_string(i), wrong);
    } else if (keyword != "$schema" && keyword != "$id" && keyword != "title" &&
               keyword != "description") {
      wrong.push_back(path + ": the schema uses " + keyword);
    }
    if (!is_met) wrong.push_back(path + ": breaks " + keyword + " " + rule.dump());
  }
}

}  // namespace qwenplan::test
