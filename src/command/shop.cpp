#include "command/shop.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "render/quantity.hpp"

namespace qwenplan {
namespace {

constexpr Bytes kTerabyte = Bytes(1'000'000'000'000);

/// The cheapest part of a kind that suffices.
template <class Suffices>
const Part* cheapest(const std::vector<Machine>& machines, Part::Kind kind, Suffices suffices) {
  const Part* best = nullptr;
  for (const Machine& machine : machines)
    for (const Part& part : machine.parts)
      if (part.kind == kind && suffices(part) && (!best || part.price.usd < best->price.usd)) best = &part;
  return best;
}

/// Whether a machine is the better one for its money: by the better method, then the faster.
bool does_more(const JobMachine& a, const JobMachine& b) {
  const Method method = a.buy.fit.best().method, other = b.buy.fit.best().method;
  if (method != other) return method < other;
  const auto rate = [](const JobMachine& each) { return each.time ? each.time->timing.rate.likely : 0; };
  return rate(a) > rate(b);
}

}  // namespace

Result<std::vector<Gpu>> sold_cards(const Tables& tables) {
  std::vector<Gpu> cards;
  for (const std::string& id : tables.ids(Tables::Kind::gpus)) {
    if (id.find("laptop") != std::string::npos) continue;
    const auto found = tables.gpu(id);
    if (!found) return found.error();
    if (found->gpu.is_cuda()) cards.push_back(found->gpu);
  }
  return cards;
}

std::vector<Buy> cards_for(const Tables& tables, CardFits& fits, bool needs_room) {
  std::vector<Buy> list;
  const auto cards = sold_cards(tables);
  if (!cards) return list;
  for (const Gpu& gpu : *cards) {
    if (!gpu.price()) continue;
    const auto& fit = fits.on(gpu);
    if (fit && fit->fits(needs_room)) list.push_back({gpu, *fit});
  }
  std::stable_sort(list.begin(), list.end(), [](const Buy& a, const Buy& b) {
    return a.gpu.price()->value < b.gpu.price()->value;
  });
  return list;
}

Assembly assembled(const std::vector<Machine>& machines, const Gpu& gpu, const HostNeed& need) {
  Assembly result;
  const auto add = [&](const Part* part, std::string otherwise) {
    if (part) {
      result.parts.push_back(part);
      result.usd += part->price.usd;
    } else {
      result.missing.push_back(std::move(otherwise));
    }
    return part;
  };
  const auto any = [](const Part&) { return true; };
  result.cpu = add(cheapest(machines, Part::Kind::cpu, any), "a CPU");
  const std::int64_t gib = need.ram_gib.value_or(4096);
  add(cheapest(machines, Part::Kind::ram,
               [&](const Part& part) { return part.size && *part.size >= Bytes(1024 * 1024 * 1024) * gib; }),
      (need.ram_gib ? "" : "more than 2 TiB, ") + std::to_string(gib) + " GiB of RAM");
  const auto disk = sufficient_disk(need);
  add(cheapest(machines, Part::Kind::storage, [&](const Part& part) { return disk && part.size && *part.size >= *disk; }),
      disk ? "a disk of " + text_disk(*disk) : "disks of " + text(need.disk.high));
  add(cheapest(machines, Part::Kind::motherboard, any), "a motherboard");
  result.power = parts_power(gpu.power ? gpu.power->value : 0, 1, result.cpu && result.cpu->tdp ? *result.cpu->tdp : 0);
  const auto supply = result.power.supply();
  add(cheapest(machines, Part::Kind::psu,
               [&](const Part& part) { return gpu.power && supply && part.rating && *part.rating >= *supply; }),
      !gpu.power ? "a power supply, since the card's power is not known"
                 : supply ? "a power supply of " + fixed(*supply, 0) + " W" : "a power supply beyond 2000 W");
  add(cheapest(machines, Part::Kind::enclosure, any), "a case");
  if (gpu.price()) result.usd += gpu.price()->value;
  return result;
}

Result<std::vector<JobMachine>> machines_for(const Tables& tables, const std::vector<Machine>& machines, PricedJob& job,
                                             const std::optional<std::string>& card, bool is_strict) {
  std::vector<JobMachine> list;
  const Subject& subject = job.job.subject;
  for (Buy& buy : cards_for(tables, job.fits, is_strict)) {
    if (card && buy.gpu.id != *card) continue;
    JobMachine each;
    each.need = host_need(subject.model.model, buy.fit.best().plan.valid.run, subject.stack);
    each.machine = assembled(machines, buy.gpu, each.need);
    if (job.has_hours() || job.limits.usd) {
      if (const auto& time = job.times.on(buy.gpu)) {
        each.time = &*time;
        each.hours = time->hours();
      } else if (job.has_hours()) {
        return time.error();
      }
    }
    if (each.hours) each.deadline = job.limits.of_hours(*each.hours);
    each.budget = job.limits.of_usd(Range<double>::exactly(each.machine.usd));
    each.buy = std::move(buy);
    list.push_back(std::move(each));
  }
  std::stable_sort(list.begin(), list.end(), [&](const JobMachine& a, const JobMachine& b) {
    if (a.meets() != b.meets()) return a.meets() < b.meets();
    if (a.machine.missing.size() != b.machine.missing.size()) return a.machine.missing.size() < b.machine.missing.size();
    if (job.limits.usd && a.meets() != Meets::misses && (does_more(a, b) || does_more(b, a))) return does_more(a, b);
    return a.machine.usd < b.machine.usd;
  });
  return list;
}

std::optional<Bytes> sufficient_disk(const HostNeed& need) {
  // As much again for the data and what gathers, and a tenth that a file system wants free.
  const double bytes = static_cast<double>(need.disk.high.count()) * 2 / 0.9;
  for (const double terabytes : {0.25, 0.5, 1.0, 2.0, 4.0, 8.0})
    if (bytes <= terabytes * 1e12) return Bytes(static_cast<std::int64_t>(terabytes * 1e12));
  return std::nullopt;
}

std::string text_disk(Bytes bytes) {
  if (bytes < kTerabyte) return std::to_string(bytes.count() / 1'000'000'000) + " GB";
  return plain(static_cast<double>(bytes.count()) / 1e12) + " TB";
}

Value as_json(const PartsPower& power) {
  return Value::object({{"gpu_watts", power.gpus},
                        {"cpu_watts", power.cpu},
                        {"other_watts", power.others},
                        {"load_watts", power.load()},
                        {"supply_watts", power.supply()}});
}

}  // namespace qwenplan
